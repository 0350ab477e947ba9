/* SPDX-License-Identifier: Apache-2.0
 *
 * Failing disks for tests, without root: preloaded into a program under test, this makes chosen
 * system calls fail on chosen files while a trigger file exists.
 *
 *   LD_PRELOAD=…/libhotbackup_fault.so
 *   HOTBACKUP_TEST_FAULT="call:errno:path-substring:trigger-file[;…]"
 *
 *   call     sync      fsync, fdatasync, sync_file_range
 *            write     write, pwrite, pwritev: of an append too; the bytes are not written
 *            written   the same of more than a word, but the bytes are written
 *            msync     of a map of the file (what LMDB syncs with MDB_WRITEMAP)
 *            allocate  fallocate, posix_fallocate, ftruncate
 *            create    open with O_CREAT of a file that is not there
 *            …+N       the same, but the first N such calls while the trigger is there work
 *            clock     clock_gettime of CLOCK_REALTIME: no failure, but `errno` seconds are added; path -
 *   errno    EIO, ENOSPC, EDQUOT, or a number
 *   path     any part of the file's full path, as /proc/self/fd shows it
 *   trigger  the rule holds while this file exists; each failure appends a byte to "<trigger>.hits",
 *            when that file exists, so that a test knows that it happened
 *
 * A failed call does nothing at all: what was not synced stays in the page cache, as on a disk that
 * has not written it. With the capture library: LD_PRELOAD="libhotbackup.so libhotbackup_fault.so".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define RULES_MAX 16

struct rule {
  const char* call;
  int skip;
  int error;
  const char* path;
  const char* trigger;
};
static struct rule rules[RULES_MAX];
static int rule_count;

static int error_number(const char* name) {
  if (strcmp(name, "EIO") == 0) return EIO;
  if (strcmp(name, "ENOSPC") == 0) return ENOSPC;
  if (strcmp(name, "EDQUOT") == 0) return EDQUOT;
  return atoi(name);
}

/* A rule that cannot be read ends the program: a test must not pass because nothing failed. */
static void __attribute__((constructor)) read_rules(void) {
  const char* value = getenv("HOTBACKUP_TEST_FAULT");
  if (value == NULL || *value == '\0') return;
  char* rest = strdup(value);
  for (char* one; (one = strsep(&rest, ";")) != NULL;) {
    struct rule* rule = &rules[rule_count];
    char* name = NULL;
    char* call = strsep(&one, ":");
    rule->call = strsep(&call, "+");
    rule->skip = call != NULL ? atoi(call) : 0;
    if (one != NULL) name = strsep(&one, ":");
    if (one != NULL) rule->path = strsep(&one, ":");
    rule->trigger = one;
    if (name != NULL) rule->error = error_number(name);
    if (rule->trigger == NULL || rule->error <= 0 || ++rule_count == RULES_MAX) {
      fprintf(stderr, "HOTBACKUP_TEST_FAULT: '%s' cannot be read\n", value);
      _exit(99);
    }
  }
}

static void note_hit(const char* trigger) {
  char hits[PATH_MAX];
  snprintf(hits, sizeof hits, "%s.hits", trigger);
  const long fd = syscall(SYS_openat, AT_FDCWD, hits, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) return;
  (void)!syscall(SYS_write, fd, "x", 1);
  syscall(SYS_close, fd);
}

/* The errno with which this call on this path fails now, or 0. Keeps errno. */
static int failure(const char* call, const char* path) {
  const int saved = errno;
  int error = 0;
  for (int i = 0; i < rule_count && error == 0; ++i) {
    if (strcmp(rules[i].call, call) != 0 || strstr(path, rules[i].path) == NULL) continue;
    if (access(rules[i].trigger, F_OK) != 0) continue;
    if (rules[i].skip > 0 && rules[i].skip-- > 0) continue;
    error = rules[i].error;
    note_hit(rules[i].trigger);
  }
  errno = saved;
  return error;
}

static int failure_of_fd(const char* call, int fd) {
  if (rule_count == 0) return 0;
  const int saved = errno;
  char link[64];
  char path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  errno = saved;
  if (size < 0) return 0;
  path[size] = '\0';
  return failure(call, path);
}

/* The file that is mapped at this address. */
static int failure_of_map(const char* call, const void* address) {
  if (rule_count == 0) return 0;
  FILE* maps = fopen("/proc/self/maps", "re");
  if (maps == NULL) return 0;
  char line[PATH_MAX + 128];
  int error = 0;
  while (error == 0 && fgets(line, sizeof line, maps) != NULL) {
    unsigned long from = 0;
    unsigned long to = 0;
    if (sscanf(line, "%lx-%lx", &from, &to) != 2) continue;
    if ((unsigned long)address < from || (unsigned long)address >= to) continue;
    const char* path = strchr(line, '/');
    if (path != NULL) error = failure(call, path);
  }
  fclose(maps);
  return error;
}

#define FAIL_FD(call, fd)                        \
  do {                                           \
    const int error_ = failure_of_fd(call, fd);  \
    if (error_ != 0) {                           \
      errno = error_;                            \
      return -1;                                 \
    }                                            \
  } while (0)

/* A write that happened, as its caller is told. */
static ssize_t told(int fd, ssize_t done) {
  const int error = done > 8 ? failure_of_fd("written", fd) : 0;
  if (error == 0) return done;
  errno = error;
  return -1;
}

#define NEXT(type, name, ...)                                     \
  static type (*next)(__VA_ARGS__);                               \
  if (next == NULL) *(void**)&next = dlsym(RTLD_NEXT, #name)

EXPORT int fsync(int fd) {
  NEXT(int, fsync, int);
  FAIL_FD("sync", fd);
  return next(fd);
}
EXPORT int fdatasync(int fd) {
  NEXT(int, fdatasync, int);
  FAIL_FD("sync", fd);
  return next(fd);
}
EXPORT int sync_file_range(int fd, off64_t offset, off64_t bytes, unsigned flags) {
  NEXT(int, sync_file_range, int, off64_t, off64_t, unsigned);
  FAIL_FD("sync", fd);
  return next(fd, offset, bytes, flags);
}
EXPORT int msync(void* address, size_t bytes, int flags) {
  NEXT(int, msync, void*, size_t, int);
  const int error = failure_of_map("msync", address);
  if (error != 0) {
    errno = error;
    return -1;
  }
  return next(address, bytes, flags);
}

EXPORT ssize_t write(int fd, const void* from, size_t bytes) {
  NEXT(ssize_t, write, int, const void*, size_t);
  FAIL_FD("write", fd);
  return told(fd, next(fd, from, bytes));
}
EXPORT ssize_t pwrite(int fd, const void* from, size_t bytes, off_t offset) {
  NEXT(ssize_t, pwrite, int, const void*, size_t, off_t);
  FAIL_FD("write", fd);
  return told(fd, next(fd, from, bytes, offset));
}
EXPORT ssize_t pwrite64(int fd, const void* from, size_t bytes, off64_t offset) {
  NEXT(ssize_t, pwrite64, int, const void*, size_t, off64_t);
  FAIL_FD("write", fd);
  return told(fd, next(fd, from, bytes, offset));
}
EXPORT ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t offset) {
  NEXT(ssize_t, pwritev, int, const struct iovec*, int, off_t);
  FAIL_FD("write", fd);
  return told(fd, next(fd, parts, count, offset));
}
EXPORT ssize_t pwritev64(int fd, const struct iovec* parts, int count, off64_t offset) {
  NEXT(ssize_t, pwritev64, int, const struct iovec*, int, off64_t);
  FAIL_FD("write", fd);
  return told(fd, next(fd, parts, count, offset));
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t bytes) {
  NEXT(int, fallocate, int, int, off_t, off_t);
  FAIL_FD("allocate", fd);
  return next(fd, mode, offset, bytes);
}
EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t bytes) {
  NEXT(int, fallocate64, int, int, off64_t, off64_t);
  FAIL_FD("allocate", fd);
  return next(fd, mode, offset, bytes);
}
EXPORT int posix_fallocate(int fd, off_t offset, off_t bytes) {
  NEXT(int, posix_fallocate, int, off_t, off_t);
  const int error = failure_of_fd("allocate", fd);
  return error != 0 ? error : next(fd, offset, bytes);
}
EXPORT int posix_fallocate64(int fd, off64_t offset, off64_t bytes) {
  NEXT(int, posix_fallocate64, int, off64_t, off64_t);
  const int error = failure_of_fd("allocate", fd);
  return error != 0 ? error : next(fd, offset, bytes);
}
EXPORT int ftruncate(int fd, off_t bytes) {
  NEXT(int, ftruncate, int, off_t);
  FAIL_FD("allocate", fd);
  return next(fd, bytes);
}
EXPORT int ftruncate64(int fd, off64_t bytes) {
  NEXT(int, ftruncate64, int, off64_t);
  FAIL_FD("allocate", fd);
  return next(fd, bytes);
}

EXPORT int clock_gettime(clockid_t clock, struct timespec* time) {
  NEXT(int, clock_gettime, clockid_t, struct timespec*);
  const int done = next(clock, time);
  if (done != 0 || clock != CLOCK_REALTIME) return done;
  const int saved = errno;
  for (int i = 0; i < rule_count; ++i)
    if (strcmp(rules[i].call, "clock") == 0 && access(rules[i].trigger, F_OK) == 0)
      time->tv_sec += rules[i].error;
  errno = saved;
  return done;
}

/* The path of a file to be made, below the directory that `fd` stands for. */
static int failure_of_creation(int fd, const char* path, int flags) {
  if (rule_count == 0 || (flags & O_CREAT) == 0 || faccessat(fd, path, F_OK, 0) == 0) return 0;
  char full[2 * PATH_MAX] = "";
  if (path[0] != '/' && fd != AT_FDCWD) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t size = readlink(link, full, PATH_MAX);
    full[size < 0 ? 0 : size] = '\0';
    strcat(full, "/");
  }
  strncat(full, path, PATH_MAX - 1);
  return failure("create", full);
}

#define OPEN_WITH_MODE(call)                                                  \
  mode_t mode = 0;                                                            \
  if ((flags & (O_CREAT | __O_TMPFILE)) != 0) {                               \
    va_list arguments;                                                        \
    va_start(arguments, flags);                                               \
    mode = va_arg(arguments, mode_t);                                         \
    va_end(arguments);                                                        \
  }                                                                           \
  const int saved = errno;                                                    \
  const int error = failure_of_creation(directory, path, flags);              \
  errno = error != 0 ? error : saved;                                         \
  return error != 0 ? -1 : call

EXPORT int open(const char* path, int flags, ...) {
  const int directory = AT_FDCWD;
  NEXT(int, open, const char*, int, ...);
  OPEN_WITH_MODE(next(path, flags, mode));
}
EXPORT int open64(const char* path, int flags, ...) {
  const int directory = AT_FDCWD;
  NEXT(int, open64, const char*, int, ...);
  OPEN_WITH_MODE(next(path, flags, mode));
}
EXPORT int openat(int directory, const char* path, int flags, ...) {
  NEXT(int, openat, int, const char*, int, ...);
  OPEN_WITH_MODE(next(directory, path, flags, mode));
}
EXPORT int openat64(int directory, const char* path, int flags, ...) {
  NEXT(int, openat64, int, const char*, int, ...);
  OPEN_WITH_MODE(next(directory, path, flags, mode));
}
