// SPDX-License-Identifier: Apache-2.0
// Keeps a process small while LMDB walks through files much larger than that. Every page touched in
// a map counts as resident memory, although the kernel could take it back at any time.
#pragma once

#include <time.h>

#include <cstddef>

namespace hotbackup::lmdb {

inline constexpr std::size_t kResidentFileBytesMax = 16 << 20;

/// Unmaps the pages of all open Environments from this process (they stay in the page cache, dirty
/// or not) if more than this of its resident memory is pages of files. Cheap when it is not. Any
/// thread.
void trim_resident(std::size_t file_bytes_max = kResidentFileBytesMax);

/// While it lives, the thread that made it is interrupted to trim a few times a millisecond: for
/// steps inside liblmdb that cannot be cut up, such as the commit of a large transaction, which
/// touches every page it wrote. A watching thread would come too late on a busy machine. Uses the
/// signal SIGRTMIN+8; destroyed on the thread that made it.
class ResidentLimit {
 public:
  ResidentLimit();
  ~ResidentLimit();
  ResidentLimit(const ResidentLimit&) = delete;
  ResidentLimit& operator=(const ResidentLimit&) = delete;

 private:
  timer_t timer_{};
  bool running_ = false;
};

}  // namespace hotbackup::lmdb
