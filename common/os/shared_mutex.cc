// SPDX-License-Identifier: Apache-2.0
#include "common/os/shared_mutex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace hotbackup::os {
namespace {

timespec to_timespec(std::chrono::nanoseconds duration) {
  return {static_cast<time_t>(duration.count() / 1'000'000'000),
          static_cast<long>(duration.count() % 1'000'000'000)};
}

}  // namespace

void SharedMutex::initialize() {
  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutex_init(&mutex, &attributes);
  ::pthread_mutexattr_destroy(&attributes);
}

Result<SharedLock> SharedLock::acquire(SharedMutex& mutex, std::chrono::milliseconds timeout) {
  int rc = ::pthread_mutex_trylock(&mutex.mutex);
  if (rc == EBUSY) {
    const auto deadline = std::chrono::system_clock::now() + timeout;
    const timespec until = to_timespec(deadline.time_since_epoch());
    rc = ::pthread_mutex_timedlock(&mutex.mutex, &until);
  }
  if (rc == ETIMEDOUT)
    return fail(ErrorCode::kTimeout, "the group's journal lock is held too long");
  if (rc != 0 && rc != EOWNERDEAD) return fail_errno("the group's journal lock", rc);
  SharedLock lock(&mutex);
  if (rc == EOWNERDEAD) {
    ::pthread_mutex_consistent(&mutex.mutex);
    lock.owner_died_ = true;
  }
  return lock;
}

void SharedLock::release() {
  if (mutex_ != nullptr) ::pthread_mutex_unlock(&mutex_->mutex);
  mutex_ = nullptr;
}

void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t seen,
                std::chrono::milliseconds timeout) {
  static_assert(sizeof(std::atomic<std::uint32_t>) == 4);
  const timespec wait = to_timespec(timeout);
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &wait, nullptr, 0);
}

void futex_notify(std::atomic<std::uint32_t>& word) {
  word.fetch_add(1, std::memory_order_seq_cst);
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace hotbackup::os
