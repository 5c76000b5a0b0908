/* One program, many behaviours: `prog BEHAVIOUR ARGUMENTS`, for the sandbox tests. */
#define _GNU_SOURCE
#include <stdio.h>

/* Returns the exit code. `args` holds the words after the behaviour's name and ends with NULL. */
struct behaviour {
    const char *name;
    int (*run)(char **args);
};

extern const struct behaviour endings[], limits[], files[], processes[], isolation[];

/* Prints "WHAT: strerror(errno)" on standard error, and returns 1. */
int failed(const char *what);

/* Prints "ok", or the name of errno, on standard output; returns 0. A guest tells what was refused this way. */
int told(int result);
