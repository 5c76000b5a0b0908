/* Programs that try to get out: each tells what the kernel answered. */
#include "prog.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* "uid effective saved gid effective saved groups" */
static int ids(char **args)
{
    uid_t user[3];
    gid_t group[3];
    (void)args;
    getresuid(&user[0], &user[1], &user[2]);
    getresgid(&group[0], &group[1], &group[2]);
    printf("%d %d %d %d %d %d %d\n", user[0], user[1], user[2], group[0], group[1], group[2], getgroups(0, NULL));
    return 0;
}

static int try_setuid(char **args) { (void)args; return told(setuid(0)); }
static int try_mount(char **args) { (void)args; return told(mount("none", "/box", "tmpfs", 0, NULL)); }
static int try_remount(char **args)
{
    (void)args;
    return told(mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL));
}
static int try_umount(char **args) { (void)args; return told(umount2("/proc", MNT_EXPIRE)); }
static int try_chroot(char **args) { (void)args; return told(chroot("/box")); }
static int try_pivot_root(char **args) { (void)args; return told(syscall(SYS_pivot_root, "/box", "/box")); }
static int try_mknod(char **args) { (void)args; return told(mknod("/box/disk", S_IFBLK | 0666, makedev(7, 0))); }
static int try_unshare(char **args) { return told(unshare(strtol(args[0], NULL, 0))); }
static int try_setns(char **args) { (void)args; return told(setns(open("/proc/self/ns/net", O_RDONLY), 0)); }
static int try_sethostname(char **args) { (void)args; return told(sethostname("mine", 4)); }
static int try_nice(char **args) { (void)args; return told(nice(-5)); }
static int try_ptrace(char **args) { (void)args; return told(ptrace(PTRACE_ATTACH, 1, NULL, NULL)); }
static int try_bpf(char **args) { (void)args; return told(syscall(SYS_bpf, 5, NULL, 0)); }
static int try_swapon(char **args) { (void)args; return told(swapon("/box/swap", 0)); }
static int try_module(char **args) { (void)args; return told(syscall(SYS_init_module, "", 0, "")); }
/* Turning Ctrl-Alt-Delete on or off needs the same right as a reboot, and harms nobody where it is granted. */
static int try_reboot(char **args) { (void)args; return told(reboot(RB_DISABLE_CAD)); }
static int try_settime(char **args)
{
    struct timespec now;
    (void)args;
    clock_gettime(CLOCK_REALTIME, &now);
    return told(clock_settime(CLOCK_REALTIME, &now));
}
static int try_open_by_handle(char **args)
{
    char buffer[64];
    struct file_handle *handle = (struct file_handle *)buffer;
    int mount_id;
    (void)args;
    handle->handle_bytes = sizeof buffer - sizeof *handle;
    if (name_to_handle_at(AT_FDCWD, "/box", handle, &mount_id, 0) < 0)
        return told(-1);
    return told(open_by_handle_at(open("/box", O_RDONLY), handle, O_RDONLY));
}

/* interfaces: the names of all. */
static int interfaces(char **args)
{
    (void)args;
    for (struct if_nameindex *entry = if_nameindex(); entry && entry->if_index; entry++)
        puts(entry->if_name);
    return 0;
}

/* Sends what it was told to a port of 127.0.0.1. */
static int try_connect(char **args)
{
    struct sockaddr_in address = {AF_INET, htons(atoi(args[0])), {htonl(INADDR_LOOPBACK)}, {0}};
    int socket_fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(socket_fd, (struct sockaddr *)&address, sizeof address) < 0)
        return told(-1);
    return told(write(socket_fd, args[1], strlen(args[1])));
}

/* The same to a socket in the abstract name space, which belongs to the network name space. */
static int try_connect_abstract(char **args)
{
    struct sockaddr_un address = {AF_UNIX, ""};
    strncpy(address.sun_path + 1, args[0], sizeof address.sun_path - 2);
    return told(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address,
                        offsetof(struct sockaddr_un, sun_path) + 1 + strlen(args[0])));
}

/* System V shared memory, by its key. */
static int try_shmget(char **args) { return told(shmget(strtol(args[0], NULL, 0), 1, 0)); }

static int make_shared_memory(char **args)
{
    return told(shmget(strtol(args[0], NULL, 0), 4096, IPC_CREAT | 0666));
}

/* What namespaces do not keep apart: keys, virtual machine sockets, locks, an interface that knows all of these. */
static int try_keyctl(char **args) { (void)args; return told(syscall(SYS_keyctl, 0, -3, 1)); }
static int try_vsock(char **args) { (void)args; return told(socket(AF_VSOCK, SOCK_STREAM, 0)); }
static int try_flock(char **args) { (void)args; return told(flock(open("/box/prog", O_RDONLY), LOCK_SH)); }
static int try_lock(char **args)
{
    struct flock lock = {.l_type = F_RDLCK};
    (void)args;
    return told(fcntl(open("/box/prog", O_RDONLY), F_SETLK, &lock));
}
static int try_io_uring(char **args)
{
    char parameters[256] = {0};
    (void)args;
    return told(syscall(SYS_io_uring_setup, 1, parameters));
}
static int try_lock_by_high_bits(char **args)
{
    struct flock lock = {.l_type = F_RDLCK};
    (void)args;
    return told(syscall(SYS_fcntl, open("/usr/bin/env", O_RDONLY), 1UL << 32 | F_SETLK, &lock));
}
static int try_add_key(char **args) { (void)args; return told(syscall(SYS_add_key, "user", "test", "x", 1, -1)); }
static int try_inotify(char **args) { (void)args; return told(syscall(SYS_inotify_init1, 0)); }
static int try_fanotify(char **args) { (void)args; return told(syscall(SYS_fanotify_init, 0x200, O_RDONLY)); }
static int try_crypto(char **args) { (void)args; return told(socket(AF_ALG, SOCK_SEQPACKET, 0)); }
/* open_tree_attr, which is newer than most programs and filters. */
static int try_newest(char **args) { (void)args; return told(syscall(467, AT_FDCWD, "/usr", 0, NULL, 0)); }

/* A system call of the 32-bit kind: getpid. */
static int legacy(char **args)
{
    (void)args;
#ifdef __x86_64__
    long result = 20;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    printf("%ld\n", result);
#endif
    return 0;
}

/* The block devices that can be opened. */
static int disks(char **args)
{
    struct dirent *entry;
    struct stat status;
    DIR *devices = opendir("/dev");
    (void)args;
    while (devices && (entry = readdir(devices)))
        if (!fstatat(dirfd(devices), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) && S_ISBLK(status.st_mode)
            && openat(dirfd(devices), entry->d_name, O_RDONLY | O_NONBLOCK) >= 0)
            puts(entry->d_name);
    return 0;
}

const struct behaviour isolation[] = {
    {"ids", ids}, {"setuid", try_setuid}, {"mount", try_mount}, {"remount", try_remount}, {"umount", try_umount},
    {"chroot", try_chroot}, {"pivot_root", try_pivot_root}, {"mknod", try_mknod}, {"unshare", try_unshare},
    {"setns", try_setns}, {"sethostname", try_sethostname}, {"nice", try_nice}, {"ptrace", try_ptrace},
    {"bpf", try_bpf}, {"swapon", try_swapon}, {"init_module", try_module}, {"reboot", try_reboot},
    {"settime", try_settime}, {"open_by_handle_at", try_open_by_handle}, {"interfaces", interfaces},
    {"connect", try_connect}, {"connect-abstract", try_connect_abstract}, {"shmget", try_shmget},
    {"make-shared-memory", make_shared_memory}, {"keyctl", try_keyctl}, {"vsock", try_vsock}, {"flock", try_flock},
    {"lock", try_lock}, {"io_uring", try_io_uring}, {"legacy", legacy},
    {"lock-by-high-bits", try_lock_by_high_bits}, {"add_key", try_add_key}, {"inotify", try_inotify},
    {"fanotify", try_fanotify}, {"crypto", try_crypto}, {"newest", try_newest},
    {"disks", disks}, {NULL, NULL},
};
