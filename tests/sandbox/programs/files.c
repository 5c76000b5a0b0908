/* Programs that read, write and leave files. */
#include "prog.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int write_to(int file, long count)
{
    static char block[1024];
    for (; count > 0; count -= sizeof block)
        if (write(file, memset(block, 'x', sizeof block), sizeof block) < 0)
            return failed("write");
    return 0;
}

/* write PATH KIB */
static int write_file(char **args)
{
    int file = open(args[0], O_WRONLY | O_CREAT, 0666);
    return file < 0 ? failed("open") : write_to(file, atol(args[1]) * 1024);
}

static int write_file_ignoring(char **args)
{
    signal(SIGXFSZ, SIG_IGN);
    return write_file(args);
}

/* print KIB */
static int print(char **args) { return write_to(1, atol(args[0]) * 1024); }

/* Closes its standard streams and ends well. */
static int silence(char **args)
{
    (void)args;
    return close(0) | close(1) | close(2);
}

/* The numbers of the open descriptors. */
static int descriptors(char **args)
{
    (void)args;
    for (int number = 0; number < 4096; number++)
        if (fcntl(number, F_GETFD) >= 0)
            printf("%d\n", number);
    return 0;
}

/* Opens files until it is refused or has so many. */
static int open_many(char **args)
{
    int count = 0, most = atoi(args[0]);
    while (count < most && open("/dev/null", O_RDONLY) >= 0)
        count++;
    printf("%d\n", count);
    return count < most ? failed("open") : 0;
}

/* Tells whether a file can be opened: for reading, for writing, made. */
static int try_read(char **args) { return told(open(args[0], O_RDONLY)); }

static int try_write(char **args) { return told(open(args[0], O_WRONLY)); }

static int try_create(char **args) { return told(open(args[0], O_WRONLY | O_CREAT, 0666)); }

/* One of everything that is neither a file nor a directory, also in a directory. */
static int leave_special_files(char **args)
{
    struct sockaddr_un name = {AF_UNIX, "/box/socket"};
    (void)args;
    mkdir("/box/kept", 0777);
    close(open("/box/kept/file", O_WRONLY | O_CREAT, 0666));
    if (symlink("/etc/passwd", "/box/link") || symlink("/", "/box/kept/link"))
        return failed("symlink");
    if (mkfifo("/box/pipe", 0666) || mkfifo("/box/kept/pipe", 0666))
        return failed("mkfifo");
    if (bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&name, sizeof name))
        return failed("bind");
    return 0;
}

/* nest COUNT NAME: directories in directories; each is entered, so the depth has no limit. */
static int nest(char **args)
{
    for (int i = atoi(args[0]); i > 0; i--)
        if (mkdir(args[1], 0777) || chdir(args[1]))
            return failed("mkdir");
    return 0;
}

/* litter COUNT: so many empty files. */
static int litter(char **args)
{
    char name[32];
    for (int i = atoi(args[0]); i > 0; i--) {
        snprintf(name, sizeof name, "file-%d", i);
        int file = open(name, O_WRONLY | O_CREAT, 0666);
        if (file < 0)
            return failed("open");
        close(file);
    }
    return 0;
}

/* make MODE PATH: an empty file of that mode. */
static int make_file(char **args)
{
    mode_t mode = strtol(args[0], NULL, 8);
    int file = open(args[1], O_WRONLY | O_CREAT, 0600);
    return file < 0 || fchmod(file, mode) ? failed("make") : 0;
}

/* Directories and files that their owner may not enter, read or write. */
static int lock_away(char **args)
{
    (void)args;
    if (mkdir("/box/locked", 0700) || mkdir("/box/locked/inner", 0700))
        return failed("mkdir");
    close(open("/box/locked/inner/file", O_WRONLY | O_CREAT, 0000));
    if (chmod("/box/locked/inner", 0000) || chmod("/box/locked", 0000) || chmod("/box", 0000))
        return failed("chmod");
    return 0;
}

const struct behaviour files[] = {
    {"write", write_file}, {"write-ignoring", write_file_ignoring}, {"print", print}, {"silence", silence},
    {"descriptors", descriptors}, {"open-many", open_many}, {"try-read", try_read}, {"try-write", try_write},
    {"try-create", try_create}, {"special-files", leave_special_files}, {"nest", nest}, {"litter", litter},
    {"make", make_file}, {"lock-away", lock_away}, {NULL, NULL},
};
