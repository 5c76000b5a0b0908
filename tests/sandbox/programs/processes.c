/* Programs that start others, leave them behind, and signal what they can reach. */
#include "prog.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Forks so many children that live until it ends; says how many it got when it did not get all. */
static int fork_many(char **args)
{
    for (int i = 0; i < atoi(args[0]); i++) {
        pid_t child = fork();
        if (child < 0) {
            printf("%d\n", i);
            return failed("fork");
        }
        if (!child) {
            pause();
            _exit(0);
        }
    }
    return 0;
}

static void *wait_for_ever(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static int thread_many(char **args)
{
    pthread_t thread;
    for (int i = 0; i < atoi(args[0]); i++)
        if ((errno = pthread_create(&thread, NULL, wait_for_ever, NULL))) {
            printf("%d\n", i);
            return failed("pthread_create");
        }
    return 0;
}

static int fork_bomb(char **args)
{
    (void)args;
    for (;;)
        fork();
    return 0;
}

static int thread_bomb(char **args)
{
    pthread_t thread;
    (void)args;
    for (;;)
        pthread_create(&thread, NULL, wait_for_ever, NULL);
    return 0;
}

/* Every child forks the next one and ends: a single signal never meets it. */
static int fork_chain(char **args)
{
    (void)args;
    for (;;)
        if (fork() > 0)
            _exit(0);
    return 0;
}

/* A child that goes on while its parent ends at once: it keeps the standard streams open. */
static int leave_child(char **args)
{
    (void)args;
    if (!fork())
        sleep(60);
    return 0;
}

/* The same with all a daemon does to be forgotten, and deaf to every signal that can be ignored: the parent ends
   when the last of these steps, which closes the pipe, is done. */
static int leave_daemon(char **args)
{
    int started[2];
    (void)args;
    if (pipe(started))
        return failed("pipe");
    if (fork()) {
        close(started[1]);
        return read(started[0], &(char){0}, 1);
    }
    setsid();
    if (fork())
        _exit(0);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_IGN);
    for (int number = 0; number < 64; number++)
        close(number);
    for (;;)
        sleep(60);
    return 0;
}

/* Deaf to every signal that can be ignored. */
static int sleep_stubbornly(char **args)
{
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_IGN);
    sleep(atoi(args[0]));
    return 0;
}

/* try-kill PID SIGNAL */
static int try_kill(char **args) { return told(kill(atoi(args[0]), atoi(args[1]))); }

const struct behaviour processes[] = {
    {"fork", fork_many}, {"thread", thread_many}, {"fork-bomb", fork_bomb}, {"thread-bomb", thread_bomb},
    {"fork-chain", fork_chain}, {"leave-child", leave_child}, {"leave-daemon", leave_daemon},
    {"sleep-stubbornly", sleep_stubbornly}, {"try-kill", try_kill}, {NULL, NULL},
};
