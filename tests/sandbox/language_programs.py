"""For each language: an echo of one line, and a program that is wrong."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Programs:
    """Sources in one language."""

    echo: str
    """Prints the line that it reads, and ends with 3 where that is empty."""
    broken: str
    """Does not compile; where nothing is compiled, ends with a syntax error and without output."""


PROGRAMS = {
    "c": Programs(
        echo="""
            #include <stdio.h>
            int main(void) {
                char line[100] = "";
                if (fgets(line, sizeof line, stdin)) fputs(line, stdout);
                return line[0] == '\\n' ? 3 : 0;
            }
        """,
        broken="int main(void) { return undeclared; }",
    ),
    "cpp": Programs(
        echo="""
            #include <iostream>
            #include <string>
            int main() {
                std::string line;
                std::getline(std::cin, line);
                std::cout << line << std::endl;
                return line.empty() ? 3 : 0;
            }
        """,
        broken="int main() { return undeclared; }",
    ),
    "python": Programs(
        echo="line = input()\nprint(line)\nraise SystemExit(0 if line else 3)",
        broken="print(",
    ),
    "javascript": Programs(
        echo="""
            const text = require("fs").readFileSync(0, "utf8");
            process.stdout.write(text);
            process.exitCode = text === "\\n" ? 3 : 0;
        """,
        broken="console.log(",
    ),
    "java": Programs(
        echo="""
            import java.util.Scanner;
            public class Main {
                record Line(String text) {}
                public static void main(String[] arguments) {
                    Line line = new Line(new Scanner(System.in).nextLine());
                    System.out.println(line.text());
                    if (line.text().isEmpty()) System.exit(3);
                }
            }
        """,
        broken="public class Main { int value = undeclared; }",
    ),
    "go": Programs(
        echo="""
            package main
            import ("bufio"; "fmt"; "os")
            func main() {
                line, _ := bufio.NewReader(os.Stdin).ReadString('\\n')
                fmt.Print(line)
                if line == "\\n" { os.Exit(3) }
            }
        """,
        broken="package main\nfunc main() { undeclared() }",
    ),
    "rust": Programs(
        echo="""
            fn main() {
                let mut line = String::new();
                std::io::stdin().read_line(&mut line).unwrap();
                print!("{line}");
                if line == "\\n" { std::process::exit(3); }
            }
        """,
        broken="fn main() { undeclared(); }",
    ),
    "csharp": Programs(
        echo="""
            using System;
            class Program {
                static int Main() {
                    string line = Console.ReadLine();
                    Console.WriteLine(line);
                    return line == "" ? 3 : 0;
                }
            }
        """,
        broken="class Program { static void Main() { undeclared(); } }",
    ),
    "ruby": Programs(
        echo="line = gets\nputs line\nexit 3 if line == %(\n)",
        broken="puts (",
    ),
    "php": Programs(
        echo='<?php $line = fgets(STDIN); echo $line; exit($line === "\\n" ? 3 : 0);',
        broken="<?php echo (;",
    ),
    "perl": Programs(
        echo='my $line = <STDIN>; print $line; exit($line eq "\\n" ? 3 : 0);',
        broken="print (",
    ),
    "lua": Programs(
        echo='local line = io.read("l") print(line) os.exit(line == "" and 3 or 0)',
        broken="print(",
    ),
    "bash": Programs(
        echo='read -r line; echo "$line"; [ "$line" ] || exit 3',
        broken="echo $(",
    ),
    "pascal": Programs(
        echo="var line: string; begin readln(line); writeln(line); if line = '' then halt(3) end.",
        broken="begin undeclared; end.",
    ),
    "haskell": Programs(
        echo="""
import Control.Monad (when)
import System.Exit
main = do { line <- getLine; putStrLn line; when (null line) (exitWith (ExitFailure 3)) }
""",
        broken="main = undeclared",
    ),
    "kotlin": Programs(
        echo="""
            import kotlin.system.exitProcess
            fun main() {
                val line = readLine()
                println(line)
                if (line == "") exitProcess(3)
            }
        """,
        broken="fun main() { undeclared() }",
    ),
}
