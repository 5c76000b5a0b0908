#include "prog.h"
#include <errno.h>
#include <string.h>

int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

int told(int result)
{
    puts(result < 0 ? strerrorname_np(errno) : "ok");
    return 0;
}

int main(int argc, char **argv)
{
    const struct behaviour *tables[] = {endings, limits, files, processes, isolation};
    if (argc < 2)
        return 99;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const struct behaviour *b = tables[i]; b->name; b++)
            if (!strcmp(b->name, argv[1]))
                return b->run(argv + 2);
    fprintf(stderr, "no behaviour %s\n", argv[1]);
    return 99;
}
