"""Programs to judge in the machine, where everything takes ten times as long."""

HELLO = {"language": "python", "source_code": "print(6 * 7)", "expected_output": "42", "cpu_time_limit": 20}

SLEEP = {
    "language": "bash",
    "source_code": "sleep 6; echo done",
    "expected_output": "done",
    "wall_time_limit": 60,
}

GUESSES = {
    "language": "bash",
    "source_code": 'for guess in 1 2 3; do echo $guess; read -r said; [ "$said" = more ] || exit 0; done',
    "stdin": "3",
    "interactor": {
        "protocol": "kattis",
        "language": "bash",
        "source_code": """
while read -r guess; do [ "$guess" = "$(<"$1")" ] && { echo right; exit 42; }; echo more; done; exit 43
""",
        "limits": {"cpu_time_limit": 20, "wall_time_limit": 60},
    },
    "cpu_time_limit": 20,
    "wall_time_limit": 60,
}
"""Talks to an interactor in a box of its own, three times."""

CHILDREN_TAKE_MEMORY = {
    "language": "c",
    "source_code": """
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    for (int i = 0; i < 4; i++) {
        if (fork() == 0) {
            volatile char *memory = malloc(40 << 20);
            for (int byte = 0; byte < 40 << 20; byte += 4096)
                memory[byte] = 1;
            sleep(3);
            _exit(0);
        }
    }
    while (wait(NULL) > 0)
        ;
    return 0;
}
""",
    "memory_limit": 100_000,
    "cpu_time_limit": 20,
}
"""Each of four processes is below the limit; all together are not, and the first one ends with 0."""

TAKES_MEMORY = {
    "language": "c",
    "source_code": """
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    volatile char *memory = malloc(40 << 20);
    for (int byte = 0; byte < 40 << 20; byte += 4096)
        memory[byte] = 1;
    puts("42");
    return 0;
}
""",
    "expected_output": "42",
    "memory_limit": 100_000,
    "cpu_time_limit": 20,
}
"""40 MiB, which fit."""

BUSY = {
    "language": "bash",
    "source_code": "for i in $(seq 16); do setsid bash -c 'while :; do :; done' & done; wait",
    "cpu_time_limit": 60,
    "wall_time_limit": 200,
}
"""16 processes that never wait, each with a session of its own."""

MEASURES_ITS_SHARE = {
    "language": "python",
    "source_code": """
import time

time.sleep(6)
began_s = time.monotonic(), time.process_time()
while time.process_time() < began_s[1] + 2:
    pass
print((time.monotonic() - began_s[0]) / (time.process_time() - began_s[1]))
""",
    "cpu_time_limit": 20,
    "wall_time_limit": 200,
}
"""Prints how many times longer than its CPU time it takes, once others have had the time to begin."""
