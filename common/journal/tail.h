// SPDX-License-Identifier: Apache-2.0
// The end of a group's journal, in memory shared by all processes that append (control file).
#pragma once

#include <atomic>

#include "common/base/ids.h"
#include "common/os/shared_mutex.h"

namespace hotbackup::journal {

struct SharedTail {
  os::SharedMutex append_lock;  // the group's journal lock
  os::SharedMutex
      sync_lock;  // held by who syncs; append_lock may be taken under it, not the other way

  std::atomic<std::uint64_t> made;    // last whole update appended
  std::atomic<std::uint64_t> synced;  // durable through this update

  // Guarded by append_lock for writing. The generation changes whenever the active file does, so
  // that nobody writes through a descriptor of a file that was replaced under the same name.
  std::atomic<std::uint64_t> generation;
  std::atomic<std::uint64_t> segment_first;  // names the active segment; 0: none yet

  // No update begins a segment that would make the journal larger; 0: no limit. Control frames may.
  std::atomic<std::uint64_t> bytes_max;

  // Guarded by append_lock.
  std::uint64_t segment_bytes;  // its size
  std::uint64_t offset;         // where the next frame goes
  ChainHash chain;              // what the next frame carries
  Epoch epoch;                  // of the last update

  // Not 0 after a sync failed and the journal could not go on in a new segment either: the OS
  // error. Whoever appends or syncs next tries again.
  std::atomic<std::uint32_t> failed;
  // Failed syncs since the control file was made, and the last one's OS error.
  std::atomic<std::uint32_t> failures;
  std::atomic<std::uint32_t> failure_error;
};

}  // namespace hotbackup::journal
