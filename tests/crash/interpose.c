// SPDX-License-Identifier: Apache-2.0
// For the crash tests only, loaded by LD_PRELOAD in front of libhotbackup.so: sees the calls that
// change files below CRASH_ROOTS, ends or fails the process at a named one (CRASH_RULES), and
// records them for tests/crash/rebuild (CRASH_LOG). README.md has the words of both.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/crash/record.h"

#define EXPORT __attribute__((visibility("default")))

enum { kFilesMax = 4096, kRulesMax = 16, kMapsMax = 64, kPage = 4096 };

struct watched {  // an open file or directory below the roots
  int used, dsync;
  uint64_t inode;
  char class[12];
  char path[1024];
};

struct rule {
  char class[12], call[12];
  long left;    // fires when it reaches 0
  int chained;  // counts only once the rule before it has fired
  int fired;
  enum { kBefore, kAfter, kTorn, kFail } action;
  int error;
  char text[64];
};

struct map {  // a file mapped for writing: what of it has been recorded
  char *at, *shadow;
  size_t length;
  int fd;
  uint64_t inode;
};

static struct watched files[kFilesMax];
static struct map maps[kMapsMax];
static struct rule rules[kRulesMax];
static int rules_count, report_fd = -1;
static char roots[4][256];
static int roots_count;
static struct record_log* record;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t started = PTHREAD_ONCE_INIT;

// The server has a signal handler that opens and closes files: it must not come while we hold it.
static sigset_t hold(void) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  pthread_mutex_lock(&lock);
  return before;
}

static void drop(const sigset_t* before) {
  pthread_mutex_unlock(&lock);
  pthread_sigmask(SIG_SETMASK, before, NULL);
}

static int error_named(const char* name) {
  if (strcmp(name, "ENOSPC") == 0) return ENOSPC;
  return EIO;
}

// CLASS.CALL#N:ACTION, several divided by ';', a '>' in front of a chained one.
static void read_rules(const char* text) {
  char copy[1024], *save = NULL;
  snprintf(copy, sizeof copy, "%s", text);
  for (char* word = strtok_r(copy, ";", &save); word; word = strtok_r(NULL, ";", &save)) {
    if (rules_count == kRulesMax) break;
    struct rule* r = &rules[rules_count];
    char action[16] = "";
    snprintf(r->text, sizeof r->text, "%s", word);
    r->chained = *word == '>';
    if (sscanf(word + r->chained, "%11[^.].%11[^#]#%ld:%15s", r->class, r->call, &r->left,
               action) != 4) {
      dprintf(2, "interpose: cannot read the rule %s\n", word);
      _exit(99);
    }
    r->action = kBefore;
    if (strcmp(action, "after") == 0) r->action = kAfter;
    if (strcmp(action, "torn") == 0) r->action = kTorn;
    if (strncmp(action, "fail=", 5) == 0) r->action = kFail, r->error = error_named(action + 5);
    ++rules_count;
  }
}

static void start(void) {
  const char* text = getenv("CRASH_ROOTS");
  char copy[1024], *save = NULL;
  if (!text) return;
  snprintf(copy, sizeof copy, "%s", text);
  for (char* word = strtok_r(copy, ":", &save); word && roots_count < 4;
       word = strtok_r(NULL, ":", &save))
    snprintf(roots[roots_count++], sizeof roots[0], "%s", word);
  if ((text = getenv("CRASH_RULES"))) read_rules(text);
  if ((text = getenv("CRASH_REPORT")))
    report_fd = (int)syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                             0666);
  if ((text = getenv("CRASH_LOG"))) {
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, text, O_RDWR | O_CLOEXEC, 0);
    void* at = (void*)syscall(SYS_mmap, NULL, kRecordLogBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                              fd, 0);
    if (fd < 0 || at == MAP_FAILED) {
      dprintf(2, "interpose: cannot map %s\n", text);
      _exit(99);
    }
    record = at;
  }
}

static int ready(void) {
  pthread_once(&started, start);
  return roots_count > 0;
}

static int ends_with(const char* text, const char* end) {
  const size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

static const char* class_of(const char* path, int directory) {
  const char* name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  if (directory) return strcmp(name, "journal") == 0 ? "journaldir" : "dir";
  if (ends_with(name, ".oracle")) return "oracle";
  if (ends_with(name, ".hbj")) return "segment";
  if (strncmp(name, "update-", 7) == 0 || strstr(name, "spill")) return "spill";
  if (ends_with(name, ".tmp")) return "spare";
  if (strcmp(name, "control") == 0) return "control";
  if (strncmp(name, "group.toml", 10) == 0) return "group";
  if (strncmp(name, "applied", 7) == 0) return "applied";
  if (strcmp(name, "lock.mdb") == 0 || ends_with(name, "-lock")) return "lock";
  if (strcmp(name, "data.mdb") == 0) return "data";
  return "other";
}

static int below_roots(const char* path) {
  for (int i = 0; i < roots_count; ++i) {
    const size_t n = strlen(roots[i]);
    if (strncmp(path, roots[i], n) == 0 && (path[n] == '/' || path[n] == '\0')) return 1;
  }
  return 0;
}

static void without_slash(char* path) {
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') path[--n] = '\0';
}

/// The absolute path of `name` as seen from the directory `dir`.
static void absolute(int dir, const char* name, char* to, size_t size) {
  char base[PATH_MAX] = "", link[64];
  if (name[0] == '/') {
    snprintf(to, size, "%s", name);
    without_slash(to);
    return;
  }
  if (dir == AT_FDCWD) {
    if (!getcwd(base, sizeof base)) base[0] = '\0';
  } else {
    snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    const ssize_t n = readlink(link, base, sizeof base - 1);
    base[n > 0 ? n : 0] = '\0';
  }
  if (strcmp(name, ".") == 0)
    snprintf(to, size, "%.600s", base);
  else
    snprintf(to, size, "%.600s/%.300s", base, name);
}


// ---- recording ----

static struct record_entry* reserve(size_t payload) {
  const uint64_t size = (offsetof(struct record_entry, payload) + payload + 7) & ~(uint64_t)7;
  const uint64_t at = atomic_fetch_add(&record->tail, size);
  if (at + size > kRecordLogBytes) {
    atomic_store(&record->full, 1);
    return NULL;
  }
  struct record_entry* entry = (struct record_entry*)((char*)record + at);
  entry->size = size;
  entry->pid = (uint32_t)getpid();
  return entry;
}

static void put_record(uint32_t type, uint64_t inode, uint64_t a, const void* payload,
                       size_t length) {
  if (!record) return;
  struct record_entry* entry = reserve(payload ? length : 0);
  if (!entry) return;
  entry->inode = inode;
  entry->a = a;
  entry->length = length;
  if (payload) memcpy(entry->payload, payload, length);
  atomic_store_explicit(&entry->type, type, memory_order_release);
}

static void put_path(uint32_t type, uint64_t inode, const char* path, const char* second) {
  char both[2048];
  const int n = snprintf(both, sizeof both, "%s%c%s", path, '\0', second ? second : "");
  put_record(type, inode, 0, both, (size_t)n + 1);
}

/// What changed in mapped files since it was last looked at, as writes.
static void record_maps(void) {
  if (!record) return;
  const sigset_t before_lock = hold();
  for (int i = 0; i < kMapsMax; ++i) {
    struct map* m = &maps[i];
    if (!m->at) continue;
    off_t from = 0;
    while ((from = (off_t)syscall(SYS_lseek, m->fd, from, SEEK_DATA)) >= 0) {
      off_t to = (off_t)syscall(SYS_lseek, m->fd, from, SEEK_HOLE);
      if (to < 0 || (size_t)to > m->length) to = (off_t)m->length;
      for (; from < to; from += kPage) {
        if (memcmp(m->at + from, m->shadow + from, kPage) == 0) continue;
        memcpy(m->shadow + from, m->at + from, kPage);
        put_record(kRecordWrite, m->inode, (uint64_t)from, m->shadow + from, kPage);
      }
      if ((size_t)from >= m->length) break;
    }
  }
  drop(&before_lock);
}

// ---- rules ----

static void die(const struct rule* r) {
  if (report_fd >= 0) dprintf(report_fd, "%s\n", r->text);
  syscall(SYS_kill, getpid(), SIGKILL);
  pause();
}

/// The rule that this call fires, if any.
static struct rule* due(const char* class, const char* call) {
  if (rules_count == 0) return NULL;
  struct rule* hit = NULL;
  const sigset_t before_lock = hold();
  for (int i = 0; i < rules_count && !hit; ++i) {
    struct rule* r = &rules[i];
    if (r->fired || (r->chained && i > 0 && !rules[i - 1].fired)) continue;
    if (strcmp(r->class, "*") != 0 && strcmp(r->class, class) != 0) continue;
    if (strcmp(r->call, "*") != 0 && strcmp(r->call, call) != 0) continue;
    if (--r->left > 0) continue;
    r->fired = 1;
    hit = r;
  }
  drop(&before_lock);
  if (hit && hit->action == kBefore) die(hit);
  if (hit && hit->action == kFail && report_fd >= 0) dprintf(report_fd, "%s\n", hit->text);
  return hit;
}

static void after(struct rule* r) {
  if (r && r->action != kFail) die(r);
}

static int failed(const struct rule* r) {
  if (!r || r->action != kFail) return 0;
  errno = r->error;
  return 1;
}

// ---- which file ----

static struct watched look(int fd) {
  struct watched found = {0};
  if (fd < 0 || fd >= kFilesMax || !ready()) return found;
  const sigset_t before_lock = hold();
  found = files[fd];
  drop(&before_lock);
  return found;
}

static void watch(int fd, const char* path, int flags) {
  struct stat status;
  if (fd < 0 || fd >= kFilesMax || fstat(fd, &status) != 0) return;
  const sigset_t before_lock = hold();
  struct watched* w = &files[fd];
  w->used = 1;
  w->dsync = (flags & O_DSYNC) != 0;
  w->inode = status.st_ino;
  snprintf(w->path, sizeof w->path, "%s", path);
  snprintf(w->class, sizeof w->class, "%s", class_of(path, S_ISDIR(status.st_mode)));
  drop(&before_lock);
}

// A file that got another name counts under that from now on.
static void rename_watched(const char* from, const char* to) {
  const sigset_t before_lock = hold();
  for (int i = 0; i < kFilesMax; ++i) {
    if (!files[i].used || strcmp(files[i].path, from) != 0) continue;
    snprintf(files[i].path, sizeof files[i].path, "%s", to);
    snprintf(files[i].class, sizeof files[i].class, "%s", class_of(to, 0));
  }
  drop(&before_lock);
}

// ---- the calls ----

static int open_watched(int dir, const char* name, int flags, mode_t mode) {
  char path[1024];
  if (!ready()) return (int)syscall(SYS_openat, dir, name, flags, mode);
  absolute(dir, name, path, sizeof path);
  if (!below_roots(path)) return (int)syscall(SYS_openat, dir, name, flags, mode);
  struct stat before;
  const int makes = (flags & O_CREAT) != 0 && lstat(path, &before) != 0;
  struct rule* r = makes ? due(class_of(path, 0), "create") : NULL;
  if (failed(r)) return -1;
  const int fd = (int)syscall(SYS_openat, dir, name, flags, mode);
  if (fd < 0) return fd;
  watch(fd, path, flags);
  if (makes) {
    if (strcmp(class_of(path, 0), "oracle") != 0)
      put_path(kRecordCreate, look(fd).inode, path, NULL);
    after(r);
  } else if ((flags & O_TRUNC) != 0) {
    put_record(kRecordSize, look(fd).inode, 0, NULL, 0);
  }
  errno = 0;
  return fd;
}

#define MODE_OF(flags)                                \
  mode_t mode = 0;                                    \
  if (((flags) & O_CREAT) != 0 || ((flags) & O_TMPFILE) == O_TMPFILE) { \
    va_list more;                                     \
    va_start(more, flags);                            \
    mode = va_arg(more, mode_t);                      \
    va_end(more);                                     \
  }

EXPORT int open(const char* name, int flags, ...) {
  MODE_OF(flags)
  return open_watched(AT_FDCWD, name, flags, mode);
}
EXPORT int open64(const char* name, int flags, ...) {
  MODE_OF(flags)
  return open_watched(AT_FDCWD, name, flags, mode);
}
EXPORT int openat(int dir, const char* name, int flags, ...) {
  MODE_OF(flags)
  return open_watched(dir, name, flags, mode);
}
EXPORT int openat64(int dir, const char* name, int flags, ...) {
  MODE_OF(flags)
  return open_watched(dir, name, flags, mode);
}

EXPORT int close(int fd) {
  if (fd >= 0 && fd < kFilesMax && files[fd].used) {
    const sigset_t before_lock = hold();
    files[fd].used = 0;
    drop(&before_lock);
  }
  return (int)syscall(SYS_close, fd);
}

static void wrote(const struct watched* w, uint64_t offset, const void* bytes, size_t length) {
  if (!record) return;
  if (strcmp(w->class, "oracle") == 0) {
    put_record(kRecordOracle, 0, 0, bytes, length);
    return;
  }
  if (strcmp(w->class, "lock") == 0) return;
  put_record(kRecordWrite, w->inode, offset, bytes, length);
  if (w->dsync) put_record(kRecordDurable, w->inode, offset, NULL, length);
}

/// Half of a write, ending where the kernel may be interrupted: between two pages, or, which is
/// harder than any kernel, between two sectors of a journal's file.
static size_t torn_size(const struct watched* w, off_t offset, size_t size) {
  const off_t unit = strcmp(w->class, "data") == 0 ? kPage : 512;
  const off_t end = (offset + (off_t)size / 2 + unit - 1) / unit * unit;
  return end > offset && end < offset + (off_t)size ? (size_t)(end - offset) : 0;
}

static ssize_t write_watched(int fd, const void* bytes, size_t size, off_t offset, int at) {
  const struct watched w = look(fd);
  if (!w.used)
    return at ? syscall(SYS_pwrite64, fd, bytes, size, offset) : syscall(SYS_write, fd, bytes, size);
  struct rule* r = due(w.class, "write");
  if (failed(r)) return -1;
  if (r && r->action == kTorn) size = torn_size(&w, offset, size);
  if (!at) offset = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
  if (r && r->action == kTorn && size == 0) die(r);
  const ssize_t n =
      at ? syscall(SYS_pwrite64, fd, bytes, size, offset) : syscall(SYS_write, fd, bytes, size);
  const int error = errno;
  if (n > 0) wrote(&w, (uint64_t)offset, bytes, (size_t)n);
  after(r);
  errno = error;
  return n;
}

EXPORT ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  return write_watched(fd, bytes, size, offset, 1);
}
EXPORT ssize_t pwrite64(int fd, const void* bytes, size_t size, off_t offset) {
  return write_watched(fd, bytes, size, offset, 1);
}
EXPORT ssize_t write(int fd, const void* bytes, size_t size) {
  return write_watched(fd, bytes, size, 0, 0);
}

static ssize_t writev_watched(int fd, const struct iovec* parts, int count, off_t offset, int at) {
  const struct watched w = look(fd);
  if (!w.used)
    return at ? syscall(SYS_pwritev, fd, parts, count, offset, 0)
              : syscall(SYS_writev, fd, parts, count);
  // As one write of everything, so that rules and record see it whole.
  size_t size = 0, done = 0;
  for (int i = 0; i < count; ++i) size += parts[i].iov_len;
  char* all = malloc(size ? size : 1);
  for (int i = 0; i < count; done += parts[i].iov_len, ++i)
    memcpy(all + done, parts[i].iov_base, parts[i].iov_len);
  const ssize_t n = write_watched(fd, all, size, offset, at);
  const int error = errno;
  free(all);
  errno = error;
  return n;
}

EXPORT ssize_t writev(int fd, const struct iovec* parts, int count) {
  return writev_watched(fd, parts, count, 0, 0);
}
EXPORT ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t offset) {
  return writev_watched(fd, parts, count, offset, 1);
}
EXPORT ssize_t pwritev64(int fd, const struct iovec* parts, int count, off_t offset) {
  return writev_watched(fd, parts, count, offset, 1);
}

// A reader of the journal works on its mapped copy between two reads: that, too, may reach the disk.
EXPORT ssize_t pread(int fd, void* bytes, size_t size, off_t offset) {
  static _Thread_local unsigned turn;
  const ssize_t n = syscall(SYS_pread64, fd, bytes, size, offset);
  if (record && n > 0 && ++turn % 8 == 0) record_maps();
  return n;
}
EXPORT ssize_t pread64(int fd, void* bytes, size_t size, off_t offset) {
  return pread(fd, bytes, size, offset);
}

static int sync_watched(const struct watched* w, long call, int fd) {
  struct rule* r = due(w->class, "sync");
  record_maps();
  put_record(kRecordSyncStart, w->inode, 0, w->path, strlen(w->path) + 1);
  if (failed(r)) {
    put_record(kRecordSyncFailed, w->inode, 0, NULL, 0);
    return -1;
  }
  const int rc = (int)syscall(call, fd);
  const int error = errno;
  put_record(rc == 0 ? kRecordSynced : kRecordSyncFailed, w->inode, 0, w->path,
             strlen(w->path) + 1);
  after(r);
  errno = error;
  return rc;
}

EXPORT int fsync(int fd) {
  const struct watched w = look(fd);
  return w.used ? sync_watched(&w, SYS_fsync, fd) : (int)syscall(SYS_fsync, fd);
}
EXPORT int fdatasync(int fd) {
  const struct watched w = look(fd);
  return w.used ? sync_watched(&w, SYS_fdatasync, fd) : (int)syscall(SYS_fdatasync, fd);
}

EXPORT void* mmap(void* hint, size_t length, int protection, int flags, int fd, off_t offset) {
  void* at = (void*)syscall(SYS_mmap, hint, length, protection, flags, fd, offset);
  if (fd < 0 || at == MAP_FAILED || (flags & MAP_SHARED) == 0 || (protection & PROT_WRITE) == 0)
    return at;
  const struct watched w = look(fd);
  if (!w.used || !record || offset != 0 || strcmp(w.class, "control") == 0 ||
      strcmp(w.class, "lock") == 0)
    return at;
  char* shadow = (char*)syscall(SYS_mmap, NULL, length, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  off_t size = (off_t)syscall(SYS_lseek, fd, 0, SEEK_END);
  for (off_t from = 0; from < size && (size_t)from < length; from += kPage)
    (void)!syscall(SYS_pread64, fd, shadow + from, kPage, from);
  const sigset_t before_lock = hold();
  for (int i = 0; i < kMapsMax; ++i) {
    if (maps[i].at) continue;
    maps[i] = (struct map){at, shadow, length, fd, w.inode};
    break;
  }
  drop(&before_lock);
  return at;
}
EXPORT void* mmap64(void* hint, size_t length, int protection, int flags, int fd, off_t offset) {
  return mmap(hint, length, protection, flags, fd, offset);
}

EXPORT int munmap(void* at, size_t length) {
  if (record) record_maps();
  const sigset_t before_lock = hold();
  for (int i = 0; i < kMapsMax; ++i) {
    if (!maps[i].at || maps[i].at != at) continue;
    syscall(SYS_munmap, maps[i].shadow, maps[i].length);
    maps[i].at = NULL;
  }
  drop(&before_lock);
  return (int)syscall(SYS_munmap, at, length);
}

EXPORT int msync(void* at, size_t length, int flags) {
  uint64_t inode = 0;
  char path[1024] = "";
  const sigset_t before_lock = hold();
  for (int i = 0; i < kMapsMax; ++i) {
    if (!maps[i].at || (char*)at < maps[i].at || (char*)at >= maps[i].at + maps[i].length) continue;
    inode = maps[i].inode;
    snprintf(path, sizeof path, "%s", files[maps[i].fd].path);
  }
  drop(&before_lock);
  struct rule* r = ready() ? due("data", "sync") : NULL;
  record_maps();
  if (inode) put_record(kRecordSyncStart, inode, 0, path, strlen(path) + 1);
  const int rc = failed(r) ? -1 : (int)syscall(SYS_msync, at, length, flags);
  const int error = errno;
  if (inode && (flags & MS_SYNC) != 0)
    put_record(rc == 0 ? kRecordSynced : kRecordSyncFailed, inode, 0, path, strlen(path) + 1);
  after(r);
  errno = error;
  return rc;
}

static int rename_watched_at(int from_dir, const char* from, int to_dir, const char* to,
                             unsigned flags) {
  char a[1024], b[1024];
  const long call = SYS_renameat2;
  if (!ready()) return (int)syscall(call, from_dir, from, to_dir, to, flags);
  absolute(from_dir, from, a, sizeof a);
  absolute(to_dir, to, b, sizeof b);
  if (!below_roots(a)) return (int)syscall(call, from_dir, from, to_dir, to, flags);
  struct rule* r = due(class_of(b, 0), "rename");
  if (failed(r)) return -1;
  record_maps();
  const int rc = (int)syscall(call, from_dir, from, to_dir, to, flags);
  const int error = errno;
  if (rc == 0) {
    put_path(kRecordRename, 0, a, b);
    rename_watched(a, b);
  }
  after(r);
  errno = error;
  return rc;
}

EXPORT int rename(const char* from, const char* to) {
  return rename_watched_at(AT_FDCWD, from, AT_FDCWD, to, 0);
}
EXPORT int renameat(int from_dir, const char* from, int to_dir, const char* to) {
  return rename_watched_at(from_dir, from, to_dir, to, 0);
}
EXPORT int renameat2(int from_dir, const char* from, int to_dir, const char* to, unsigned flags) {
  return rename_watched_at(from_dir, from, to_dir, to, flags);
}

EXPORT int unlinkat(int dir, const char* name, int flags) {
  char path[1024];
  if (!ready()) return (int)syscall(SYS_unlinkat, dir, name, flags);
  absolute(dir, name, path, sizeof path);
  if (!below_roots(path)) return (int)syscall(SYS_unlinkat, dir, name, flags);
  struct rule* r = due(class_of(path, 0), "unlink");
  if (failed(r)) return -1;
  const int rc = (int)syscall(SYS_unlinkat, dir, name, flags);
  const int error = errno;
  if (rc == 0) put_path(kRecordUnlink, 0, path, NULL);
  after(r);
  errno = error;
  return rc;
}
EXPORT int unlink(const char* name) {
  return unlinkat(AT_FDCWD, name, 0);
}

EXPORT int mkdir(const char* name, mode_t mode) {
  char path[1024];
  const int rc = (int)syscall(SYS_mkdir, name, mode);
  const int error = errno;
  if (rc == 0 && ready()) {
    absolute(AT_FDCWD, name, path, sizeof path);
    if (below_roots(path)) put_path(kRecordMkdir, 0, path, NULL);
  }
  errno = error;
  return rc;
}

EXPORT int symlink(const char* target, const char* name) {
  char path[1024];
  const int rc = (int)syscall(SYS_symlink, target, name);
  const int error = errno;
  if (rc == 0 && ready()) {
    absolute(AT_FDCWD, name, path, sizeof path);
    if (below_roots(path)) put_path(kRecordSymlink, 0, path, target);
  }
  errno = error;
  return rc;
}

static int resize_watched(int fd, off_t size, int grow_only, long call) {
  const struct watched w = look(fd);
  struct stat before = {0};
  struct rule* r = w.used ? due(w.class, "truncate") : NULL;
  if (failed(r)) return -1;
  if (w.used) fstat(fd, &before);
  const int rc = call == SYS_fallocate ? (int)syscall(call, fd, 0, 0, size)
                                       : (int)syscall(call, fd, size);
  const int error = errno;
  if (rc == 0 && w.used && strcmp(w.class, "lock") != 0 &&
      (!grow_only || before.st_size < size))
    put_record(kRecordSize, w.inode, (uint64_t)size, NULL, 0);
  after(r);
  errno = error;
  return rc;
}

EXPORT int ftruncate(int fd, off_t size) {
  return resize_watched(fd, size, 0, SYS_ftruncate);
}
EXPORT int ftruncate64(int fd, off_t size) {
  return resize_watched(fd, size, 0, SYS_ftruncate);
}
EXPORT int posix_fallocate(int fd, off_t offset, off_t size) {
  const int before = errno;
  const int rc = resize_watched(fd, offset + size, 1, SYS_fallocate);
  const int error = errno;
  errno = before;
  return rc == 0 ? 0 : error;
}
EXPORT int posix_fallocate64(int fd, off_t offset, off_t size) {
  return posix_fallocate(fd, offset, size);
}
EXPORT int fallocate(int fd, int mode, off_t offset, off_t size) {
  if (mode == 0) return resize_watched(fd, offset + size, 1, SYS_fallocate);
  return (int)syscall(SYS_fallocate, fd, mode, offset, size);  // room only, or a hole in zeros
}
