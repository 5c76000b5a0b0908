/* Programs that use up time, memory and stack. */
#include "prog.h"
#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static double clock_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

/* Uses the processor for so many seconds of this thread's own time. */
static void *spin(void *seconds)
{
    while (clock_s(CLOCK_THREAD_CPUTIME_ID) < *(double *)seconds)
        ;
    return NULL;
}

static int burn(char **args)
{
    double seconds = atof(args[0]);
    spin(&seconds);
    return 0;
}

/* The same, in the kernel: nearly all of it is system time. */
static int burn_in_kernel(char **args)
{
    char page[4096];
    int zero = open("/dev/zero", O_RDONLY);
    double seconds = atof(args[0]);
    while (clock_s(CLOCK_PROCESS_CPUTIME_ID) < seconds)
        if (read(zero, page, sizeof page) < 0)
            return failed("read");
    return 0;
}

static int burn_stubbornly(char **args)
{
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_IGN);
    return burn(args);
}

/* threads COUNT SECONDS: each thread burns so many seconds. */
static int burn_in_threads(char **args)
{
    int count = atoi(args[0]);
    double seconds = atof(args[1]);
    pthread_t *threads = calloc(count, sizeof *threads);
    for (int i = 0; i < count; i++)
        if ((errno = pthread_create(&threads[i], NULL, spin, &seconds)))
            return failed("pthread_create");
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

/* children COUNT SECONDS: each child burns so many seconds, and the parent waits for them. */
static int burn_in_children(char **args)
{
    for (int i = atoi(args[0]); i > 0; i--) {
        pid_t child = fork();
        if (child < 0)
            return failed("fork");
        if (!child)
            _exit(burn(args + 1));
    }
    while (wait(NULL) > 0)
        ;
    return 0;
}

static int sleep_s(char **args)
{
    double seconds = atof(args[0]);
    struct timespec left = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
    return 0;
}

static int touch_mib(int count)
{
    for (int i = 0; i < count; i++) {
        char *block = malloc(MIB);
        if (!block) {
            printf("%d\n", i);
            return failed("malloc");
        }
        memset(block, 1, MIB);
    }
    return 0;
}

/* touch MIB: says how many it got when it did not get all. */
static int touch(char **args) { return touch_mib(atoi(args[0])); }

/* Address space only, not a page of it is used. */
static int reserve(char **args)
{
    return malloc((size_t)atoi(args[0]) * MIB) ? 0 : failed("malloc");
}

/* The child uses so many MiB, and the parent ends well whatever became of it. */
static int touch_in_child(char **args)
{
    int status = 0;
    pid_t child = fork();
    if (child < 0)
        return failed("fork");
    if (!child)
        _exit(touch_mib(atoi(args[0])));
    waitpid(child, &status, 0);
    printf("%d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    return 0;
}

/* together COUNT MIB: so many children hold so much each at the same time. */
static int touch_together(char **args)
{
    int worst = 0, status;
    for (int i = atoi(args[0]); i > 0; i--) {
        pid_t child = fork();
        if (child < 0)
            return failed("fork");
        if (!child) {
            int result = touch_mib(atoi(args[1]));
            sleep(1);
            _exit(result);
        }
    }
    while (wait(&status) > 0)
        worst |= status;
    return worst != 0;
}

/* shm MIB: a file of that size in memory. */
static int fill_shared_memory(char **args)
{
    static char block[MIB];
    int file = open("/dev/shm/big", O_WRONLY | O_CREAT, 0600);
    if (file < 0)
        return failed("open");
    for (int i = atoi(args[0]); i > 0; i--)
        if (write(file, memset(block, 1, MIB), MIB) < MIB)
            return failed("write");
    return 0;
}

static int use_stack(char **args)
{
    size_t size = (size_t)atoi(args[0]) * MIB;
    volatile char *frame = alloca(size);
    for (size_t i = size; i >= 4096; i -= 4096)
        frame[i - 1] = 1;
    return 0;
}

const struct behaviour limits[] = {
    {"burn", burn}, {"burn-in-kernel", burn_in_kernel}, {"burn-stubbornly", burn_stubbornly},
    {"burn-in-threads", burn_in_threads}, {"burn-in-children", burn_in_children}, {"sleep", sleep_s},
    {"touch", touch}, {"reserve", reserve}, {"touch-in-child", touch_in_child},
    {"touch-together", touch_together}, {"shm", fill_shared_memory}, {"stack", use_stack}, {NULL, NULL},
};
