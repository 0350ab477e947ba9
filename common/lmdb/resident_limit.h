// SPDX-License-Identifier: Apache-2.0
// Keeps a process small while LMDB walks through files much larger than that. Every page touched in
// a map counts as resident memory, although the kernel could take it back at any time.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>

namespace hotbackup::lmdb {

inline constexpr std::size_t kResidentBytesMax = 48 << 20;

/// Unmaps the pages of all open Environments from this process (they stay in the page cache, dirty
/// or not) if its resident memory exceeds the bound. Cheap when it does not. Any thread.
void trim_resident(std::size_t bytes_max = kResidentBytesMax);

/// While it lives, its thread looks every few milliseconds. For work whose steps cannot be
/// interrupted, such as the commit of a large transaction.
class ResidentLimit {
 public:
  explicit ResidentLimit(std::size_t bytes_max = kResidentBytesMax);
  ~ResidentLimit();
  ResidentLimit(const ResidentLimit&) = delete;
  ResidentLimit& operator=(const ResidentLimit&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace hotbackup::lmdb
