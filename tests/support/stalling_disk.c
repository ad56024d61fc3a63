/* A disk that stops answering, for whoever is started with LD_PRELOAD: system calls on a file whose name
   ends in "audit.jsonl" do not return while $STALL/CALL exists (CALL: open, write, fdatasync). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static void stall(const char *path, const char *call)
{
    static const char name[] = "audit.jsonl";
    const char *folder = getenv("STALL");
    size_t length = strlen(path);
    char flag[4096];

    if (folder == NULL || length < sizeof name - 1 || strcmp(path + length - (sizeof name - 1), name) != 0)
        return;
    snprintf(flag, sizeof flag, "%s/%s", folder, call);
    while (access(flag, F_OK) == 0)
        usleep(10000);
}

static void stall_descriptor(int descriptor, const char *call)
{
    char link[64], path[4096];
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = 0;
        stall(path, call);
    }
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

ssize_t write(int descriptor, const void *octets, size_t count)
{
    stall_descriptor(descriptor, "write");
    return REAL(ssize_t, "write", int, const void *, size_t)(descriptor, octets, count);
}

int fdatasync(int descriptor)
{
    stall_descriptor(descriptor, "fdatasync");
    return REAL(int, "fdatasync", int)(descriptor);
}

static int open_as(const char *name, const char *path, int flags, va_list more)
{
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;

    stall(path, "open");
    return REAL(int, name, const char *, int, ...)(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int descriptor = open_as("open", path, flags, more);
    va_end(more);
    return descriptor;
}

int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int descriptor = open_as("open64", path, flags, more);
    va_end(more);
    return descriptor;
}
