/*
 * A disk that loses unflushed data on a power failure.
 *
 * The system's page cache survives a process that is killed, so a kill alone does not show whether
 * a program flushes. Preloaded into a process, this keeps a second copy of every
 * file in the folder DISK_FOLDER in the folder DISK_DURABLE: what the disk is certain to hold, which
 * is the file as of its last flush. A test that kills the process then puts these copies in place.
 *
 * If the file DISK_FULL exists, writing fails as on a full disk; if DISK_BROKEN exists, flushing
 * fails.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* The name of an open file within the folder, or NULL for any other file. */
static const char *name_on_disk(int fd, char path[PATH_MAX])
{
    const char *folder = getenv("DISK_FOLDER");
    struct stat status;
    char link[64];
    ssize_t length;
    size_t prefix;

    if (folder == NULL || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    path[length] = '\0';
    prefix = strlen(folder);
    if (strncmp(path, folder, prefix) != 0 || path[prefix] != '/')
        return NULL;
    return strchr(path + prefix + 1, '/') == NULL ? path + prefix + 1 : NULL;
}

static int is_there(const char *variable)
{
    const char *file = getenv(variable);
    return file != NULL && access(file, F_OK) == 0;
}

/* Brings the durable file up to what is flushed now. A kill in the middle leaves some of it, as a
 * power failure in the middle of a flush does. */
static int make_durable(int fd, const char *name)
{
    static char buffer[1 << 16];
    char path[PATH_MAX];
    off_t offset = 0;
    ssize_t count;
    int durable;

    snprintf(path, sizeof path, "%s/%s", getenv("DISK_DURABLE"), name);
    durable = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (durable < 0)
        abort();
    while ((count = pread(fd, buffer, sizeof buffer, offset)) > 0) {
        ssize_t (*really)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
        if (really(durable, buffer, count, offset) != count)
            abort();
        offset += count;
    }
    if (count < 0 || ftruncate(durable, offset) != 0)
        abort();
    close(durable);
    return 0;
}

static int flush(int fd, const char *function)
{
    char path[PATH_MAX];
    const char *name = name_on_disk(fd, path);
    int result;

    if (name == NULL) {
        int (*really)(int) = dlsym(RTLD_NEXT, function);
        return really(fd);
    }
    if (is_there("DISK_BROKEN")) {
        errno = EIO;
        return -1;
    }
    pthread_mutex_lock(&one_at_a_time);
    result = make_durable(fd, name);
    pthread_mutex_unlock(&one_at_a_time);
    return result;
}

int fsync(int fd)
{
    return flush(fd, "fsync");
}

int fdatasync(int fd)
{
    return flush(fd, "fdatasync");
}

static int is_full(int fd)
{
    char path[PATH_MAX];

    if (!is_there("DISK_FULL") || name_on_disk(fd, path) == NULL)
        return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    ssize_t (*really)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return is_full(fd) ? -1 : really(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset)
{
    ssize_t (*really)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    return is_full(fd) ? -1 : really(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset)
{
    ssize_t (*really)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    return is_full(fd) ? -1 : really(fd, bytes, count, offset);
}
