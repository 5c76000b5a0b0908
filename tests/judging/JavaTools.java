// Compiles and runs many small programs in one virtual machine, since its start costs more than each of them.
// Reads one request a line, with tabs between its words: "compile OPTION...", "run FOLDER CLASS"; answers each with a line.

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Scanner;
import javax.tools.ToolProvider;

public class JavaTools {
    public static void main(String[] arguments) throws Exception {
        PrintStream answers = System.out;
        for (Scanner requests = new Scanner(System.in, "UTF-8"); requests.hasNextLine();) {
            String[] words = requests.nextLine().split("\t");
            ByteArrayOutputStream said = new ByteArrayOutputStream();
            System.setOut(new PrintStream(said, true, "UTF-8"));
            if (words[0].equals("compile")) {
                String[] options = Arrays.copyOfRange(words, 1, words.length);
                ToolProvider.getSystemJavaCompiler().run(null, said, said, options);
            } else {
                run(Path.of(words[1]), words[2]);
            }
            answers.println(said.toString("UTF-8").replace("\n", "\\n"));
        }
    }

    private static void run(Path folder, String name) throws Exception {
        try (URLClassLoader loader = new URLClassLoader(new URL[] {folder.toUri().toURL()})) {
            var main = Class.forName(name, true, loader).getMethod("main", String[].class);
            main.setAccessible(true);
            main.invoke(null, (Object) new String[0]);
        }
    }
}
