"""For each language: an echo of one line, a program that is wrong, and one that ends with 3."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Programs:
    """Sources in one language."""

    echo: str
    """Prints the line that it reads."""
    broken: str
    """Does not compile; where nothing is compiled, ends with a syntax error and without output."""
    exit_3: str
    """Ends with exit code 3, without output."""


PROGRAMS = {
    "c": Programs(
        echo="""
            #include <stdio.h>
            int main(void) { char line[100]; if (fgets(line, sizeof line, stdin)) fputs(line, stdout); }
        """,
        broken="int main(void) { return undeclared; }",
        exit_3="int main(void) { return 3; }",
    ),
    "cpp": Programs(
        echo="""
            #include <iostream>
            #include <string>
            int main() { std::string line; std::getline(std::cin, line); std::cout << line << std::endl; }
        """,
        broken="int main() { return undeclared; }",
        exit_3="int main() { return 3; }",
    ),
    "python": Programs(
        echo="print(input())",
        broken="print(",
        exit_3="raise SystemExit(3)",
    ),
    "javascript": Programs(
        echo='process.stdout.write(require("fs").readFileSync(0, "utf8"));',
        broken="console.log(",
        exit_3="process.exit(3);",
    ),
    "java": Programs(
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
        echo="""
            package main
            import ("bufio"; "fmt"; "os")
            func main() { line, _ := bufio.NewReader(os.Stdin).ReadString('\\n'); fmt.Print(line) }
        """,
        broken="package main\nfunc main() { undeclared() }",
        exit_3='package main\nimport "os"\nfunc main() { os.Exit(3) }',
    ),
    "rust": Programs(
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
        echo="""
            using System;
            class Program { static void Main() { Console.WriteLine(Console.ReadLine()); } }
        """,
        broken="class Program { static void Main() { undeclared(); } }",
        exit_3="class Program { static int Main() { return 3; } }",
    ),
    "ruby": Programs(
        echo="puts gets",
        broken="puts (",
        exit_3="exit 3",
    ),
    "php": Programs(
        echo="<?php echo fgets(STDIN);",
        broken="<?php echo (;",
        exit_3="<?php exit(3);",
    ),
    "perl": Programs(
        echo="print scalar <STDIN>;",
        broken="print (",
        exit_3="exit 3;",
    ),
    "lua": Programs(
        echo='print(io.read("l"))',
        broken="print(",
        exit_3="os.exit(3)",
    ),
    "bash": Programs(
        echo='read -r line; echo "$line"',
        broken="echo $(",
        exit_3="exit 3",
    ),
    "pascal": Programs(
        echo="var line: string; begin readln(line); writeln(line); end.",
        broken="begin undeclared; end.",
        exit_3="begin halt(3); end.",
    ),
    "haskell": Programs(
        echo="main = getLine >>= putStrLn",
        broken="main = undeclared",
        exit_3="import System.Exit\nmain = exitWith (ExitFailure 3)",
    ),
    "kotlin": Programs(
        echo="fun main() { println(readLine()) }",
        broken="fun main() { undeclared() }",
        exit_3="fun main() { kotlin.system.exitProcess(3) }",
    ),
}
