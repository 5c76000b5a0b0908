"""For each language: a greeting, an echo of one line, a program that is wrong, and one that ends with 3."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Programs:
    """Sources in one language."""

    hello: str
    """Prints `hello, world`."""
    echo: str
    """Prints the line that it reads."""
    broken: str
    """Does not compile; where nothing is compiled, ends with a syntax error and without output."""
    exit_3: str
    """Ends with exit code 3, without output."""


PROGRAMS = {
    "c": Programs(
        hello="""
            #include <stdio.h>
            int main(void) { puts("hello, world"); }
        """,
        echo="""
            #include <stdio.h>
            int main(void) { char line[100]; if (fgets(line, sizeof line, stdin)) fputs(line, stdout); }
        """,
        broken="int main(void) { return undeclared; }",
        exit_3="int main(void) { return 3; }",
    ),
    "cpp": Programs(
        hello="""
            #include <iostream>
            int main() { std::cout << "hello, world" << std::endl; }
        """,
        echo="""
            #include <iostream>
            #include <string>
            int main() { std::string line; std::getline(std::cin, line); std::cout << line << std::endl; }
        """,
        broken="int main() { return undeclared; }",
        exit_3="int main() { return 3; }",
    ),
    "python": Programs(
        hello='print("hello, world")',
        echo="print(input())",
        broken="print(",
        exit_3="raise SystemExit(3)",
    ),
    "javascript": Programs(
        hello='console.log("hello, world");',
        echo='process.stdout.write(require("fs").readFileSync(0, "utf8"));',
        broken="console.log(",
        exit_3="process.exit(3);",
    ),
    "java": Programs(
        hello="""
            public class Main {
                public static void main(String[] arguments) { System.out.println("hello, world"); }
            }
        """,
        echo="""
            import java.util.Scanner;
            public class Main {
                record Line(String text) {}
                public static void main(String[] arguments) {
                    System.out.println(new Line(new Scanner(System.in).nextLine()).text());
                }
            }
        """,
        broken="public class Main { int value = undeclared; }",
        exit_3="public class Main { public static void main(String[] arguments) { System.exit(3); } }",
    ),
    "go": Programs(
        hello="""
            package main
            import "fmt"
            func main() { fmt.Println("hello, world") }
        """,
        echo="""
            package main
            import ("bufio"; "fmt"; "os")
            func main() { line, _ := bufio.NewReader(os.Stdin).ReadString('\\n'); fmt.Print(line) }
        """,
        broken="package main\nfunc main() { undeclared() }",
        exit_3='package main\nimport "os"\nfunc main() { os.Exit(3) }',
    ),
    "rust": Programs(
        hello='fn main() { println!("hello, world"); }',
        echo="""
            fn main() {
                let mut line = String::new();
                std::io::stdin().read_line(&mut line).unwrap();
                print!("{line}");
            }
        """,
        broken="fn main() { undeclared(); }",
        exit_3="fn main() { std::process::exit(3); }",
    ),
    "csharp": Programs(
        hello="""
            using System;
            class Program { static void Main() { Console.WriteLine("hello, world"); } }
        """,
        echo="""
            using System;
            class Program { static void Main() { Console.WriteLine(Console.ReadLine()); } }
        """,
        broken="class Program { static void Main() { undeclared(); } }",
        exit_3="class Program { static int Main() { return 3; } }",
    ),
    "ruby": Programs(
        hello='puts "hello, world"',
        echo="puts gets",
        broken="puts (",
        exit_3="exit 3",
    ),
    "php": Programs(
        hello='<?php echo "hello, world", PHP_EOL;',
        echo="<?php echo fgets(STDIN);",
        broken="<?php echo (;",
        exit_3="<?php exit(3);",
    ),
    "perl": Programs(
        hello='print "hello, world\\n";',
        echo="print scalar <STDIN>;",
        broken="print (",
        exit_3="exit 3;",
    ),
    "lua": Programs(
        hello='print("hello, world")',
        echo='print(io.read("l"))',
        broken="print(",
        exit_3="os.exit(3)",
    ),
    "bash": Programs(
        hello='echo "hello, world"',
        echo='read -r line; echo "$line"',
        broken="echo $(",
        exit_3="exit 3",
    ),
    "pascal": Programs(
        hello="begin writeln('hello, world'); end.",
        echo="var line: string; begin readln(line); writeln(line); end.",
        broken="begin undeclared; end.",
        exit_3="begin halt(3); end.",
    ),
    "haskell": Programs(
        hello='main = putStrLn "hello, world"',
        echo="main = getLine >>= putStrLn",
        broken="main = undeclared",
        exit_3="import System.Exit\nmain = exitWith (ExitFailure 3)",
    ),
    "kotlin": Programs(
        hello='fun main() { println("hello, world") }',
        echo="fun main() { println(readLine()) }",
        broken="fun main() { undeclared() }",
        exit_3="fun main() { kotlin.system.exitProcess(3) }",
    ),
}
