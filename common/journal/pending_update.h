// SPDX-License-Identifier: Apache-2.0
// The frames of one update before it has a number: bodies are final, headers are completed under
// the journal lock. Small updates stay in memory; from `memory_bytes_max` on they go to a file that
// is laid out as a segment and becomes one, so that nothing is written twice.
#pragma once

#include <memory>
#include <string>

#include "common/journal/frame.h"
#include "common/os/file.h"

namespace hotbackup::journal {

class PendingUpdate {
 public:
  static constexpr std::size_t kMemoryBytesMax = 4 * 1024 * 1024;

  /// Borrows the journal's directory, where a spill file lies until it becomes a segment.
  explicit PendingUpdate(os::Directory& directory, std::size_t memory_bytes_max = kMemoryBytesMax)
      : directory_(directory), memory_bytes_max_(memory_bytes_max) {}
  ~PendingUpdate();
  PendingUpdate(const PendingUpdate&) = delete;
  PendingUpdate& operator=(const PendingUpdate&) = delete;

  /// Where the bytes of the open body are to be appended, and only that: frames before it lie in
  /// the same string. Opens a body if none is open.
  std::string& body();
  /// Bytes in the open body so far.
  std::size_t body_bytes() const {
    return open_ ? buffer_.size() - frame_start_ - kFrameHeaderBytes : 0;
  }
  /// Closes the open body; does nothing when none is open. May write to the spill file.
  Result<> close_body();

  /// Closes the body and, when spilled, writes and syncs the rest: the slow part of append, to be
  /// done before the journal lock is taken. An update without operations becomes one empty frame.
  Result<> prepare();

  /// A point to go back to: at a frame boundary (closes the open body).
  Result<std::uint64_t> mark();
  Result<> rewind(std::uint64_t mark);
  /// Back to empty; removes a spill file.
  void clear();

  bool empty() const { return total_bytes() == 0 && !open_; }
  std::uint64_t total_bytes() const { return spilled_bytes_ + buffer_.size(); }
  bool spilled() const { return spill_ != nullptr; }

 private:
  friend class Journal;

  Result<> spill_buffer();

  os::Directory& directory_;
  const std::size_t memory_bytes_max_;
  std::string buffer_;           // frames with incomplete headers: body_bytes and body_hash only
  std::size_t frame_start_ = 0;  // of the open body's frame in buffer_
  bool open_ = false;
  std::unique_ptr<os::File> spill_;  // frames begin at kSegmentHeaderBytes
  std::string spill_name_;
  std::uint64_t spilled_bytes_ = 0;
};

}  // namespace hotbackup::journal
