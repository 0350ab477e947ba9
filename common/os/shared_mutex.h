// SPDX-License-Identifier: Apache-2.0
// A robust mutex that lies in memory shared by processes, and futexes there.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <utility>

#include "common/base/error.h"

namespace hotbackup::os {

/// Lies in the mapped control file. Needs initialize() once a boot, by who (re)builds the file.
struct SharedMutex {
  pthread_mutex_t mutex;
  void initialize();
};

/// Holds a SharedMutex. When its owner died, `owner_died()` says so and the holder mends what the
/// owner left before anything else; the mutex itself is made consistent at once.
class SharedLock {
 public:
  /// kTimeout when `deadline` (CLOCK_REALTIME) passes; kIo where the mutex itself is broken.
  static Result<SharedLock> acquire(SharedMutex& mutex, std::chrono::milliseconds timeout);
  SharedLock(SharedLock&& other) noexcept
      : mutex_(std::exchange(other.mutex_, nullptr)), owner_died_(other.owner_died_) {}
  SharedLock& operator=(SharedLock&&) = delete;
  SharedLock(const SharedLock&) = delete;
  ~SharedLock() { release(); }

  bool owner_died() const { return owner_died_; }
  void release();

 private:
  explicit SharedLock(SharedMutex* mutex) : mutex_(mutex) {}
  SharedMutex* mutex_;
  bool owner_died_ = false;
};

/// Sleeps until `word` differs from `seen`, or the timeout. Works across processes.
void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t seen,
                std::chrono::milliseconds timeout);
/// Changes `word` and wakes all sleepers on it.
void futex_notify(std::atomic<std::uint32_t>& word);

}  // namespace hotbackup::os
