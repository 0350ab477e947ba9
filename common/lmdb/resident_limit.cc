// SPDX-License-Identifier: Apache-2.0
#include "common/lmdb/resident_limit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>

#include "common/lmdb/mappings.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

namespace hotbackup::lmdb {
namespace {

// A read fault maps sixteen pages at once, so a thread can touch 10 MB in this time.
constexpr long kLookEveryNs = 200'000;

// Everything from here to on_tick is called from a signal handler: system calls only.

/// Of the resident memory, what is pages of files (and little else that is shared).
std::size_t resident_file_bytes() {
  const int fd = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[128];
  const ssize_t size = ::read(fd, text, sizeof text);
  ::close(fd);
  std::size_t pages = 0;  // the third number
  int spaces = 0;
  for (ssize_t i = 0; i < size && spaces < 3; ++i) {
    if (text[i] == ' ')
      ++spaces;
    else if (spaces == 2)
      pages = pages * 10 + static_cast<std::size_t>(text[i] - '0');
  }
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

void drop_pages(const Mappings& mappings) {
  for (const Mapping& mapping : mappings.open)
    if (mapping.address != nullptr) ::madvise(mapping.address, mapping.bytes, MADV_DONTNEED);
}

void on_tick(int) {
  const int saved = errno;
  Mappings& mappings = Mappings::instance();
  if (resident_file_bytes() > kResidentFileBytesMax && mappings.lock.try_lock()) {
    drop_pages(mappings);
    mappings.lock.unlock();
  }
  errno = saved;
}

}  // namespace

void trim_resident(std::size_t file_bytes_max) {
  if (resident_file_bytes() <= file_bytes_max) return;
  Mappings& mappings = Mappings::instance();
  const std::lock_guard guard(mappings.lock);
  drop_pages(mappings);
}

ResidentLimit::ResidentLimit() {
  const int number = SIGRTMIN + 8;
  Mappings::instance();  // made before a handler asks for it
  struct sigaction action {};
  action.sa_handler = on_tick;
  action.sa_flags = SA_RESTART;
  ::sigaction(number, &action, nullptr);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, number);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);

  struct sigevent event {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = number;
  event.sigev_notify_thread_id = ::gettid();
  if (::timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) return;
  running_ = true;
  const struct itimerspec every {
    {0, kLookEveryNs}, { 0, kLookEveryNs }
  };
  ::timer_settime(timer_, 0, &every, nullptr);
}

ResidentLimit::~ResidentLimit() {
  if (running_) ::timer_delete(timer_);
}

}  // namespace hotbackup::lmdb
