/* How a program can end, and what it can say about how it was started. */
#include "prog.h"
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static int exit_with(char **args) { return atoi(args[0]); }

static int hello(char **args) { (void)args; puts("hello"); return 0; }

static int crash(char **args) { (void)args; *(volatile int *)NULL = 1; return 0; }

static int give_up(char **args) { (void)args; abort(); }

static int divide(char **args)
{
    volatile int zero = 0;
    (void)args;
    return 100 / zero;
}

static int raise_signal(char **args)
{
    raise(atoi(args[0]));
    return 0;
}

/* Every argument, each ended by a NUL byte. */
static int arguments(char **args)
{
    for (; *args; args++)
        fwrite(*args, 1, __builtin_strlen(*args) + 1, stdout);
    return 0;
}

static int environment(char **args)
{
    (void)args;
    for (char **entry = environ; *entry; entry++)
        fwrite(*entry, 1, __builtin_strlen(*entry) + 1, stdout);
    return 0;
}

/* The soft and hard limits, one "name soft hard" a line; -1 is no limit. */
static int resource_limits(char **args)
{
    static const struct { const char *name; int which; } all[] = {
        {"as", RLIMIT_AS}, {"core", RLIMIT_CORE}, {"fsize", RLIMIT_FSIZE},
        {"nofile", RLIMIT_NOFILE}, {"stack", RLIMIT_STACK},
    };
    struct rlimit limit;
    (void)args;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        getrlimit(all[i].which, &limit);
        printf("%s %ld %ld\n", all[i].name, (long)limit.rlim_cur, (long)limit.rlim_max);
    }
    return 0;
}

const struct behaviour endings[] = {
    {"exit", exit_with}, {"hello", hello}, {"segv", crash}, {"abort", give_up}, {"divide", divide},
    {"raise", raise_signal}, {"arguments", arguments}, {"environment", environment},
    {"rlimits", resource_limits}, {NULL, NULL},
};
