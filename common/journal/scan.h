// SPDX-License-Identifier: Apache-2.0
// Reads frames from one segment file at a moving offset, with a read-ahead buffer that grows while
// there is a backlog and is never believed where it disagrees: behind a growing tail it may be old.
#pragma once

#include <string>

#include "common/journal/frame.h"
#include "common/os/file.h"

namespace hotbackup::journal {

class SegmentScan {
 public:
  /// Borrows the file.
  SegmentScan(os::File& file, std::uint64_t offset) : file_(file), offset_(offset) {}

  /// The frame at the offset, accepted by `sequence`; then moves behind it. On an error neither
  /// offset nor sequence has moved. The view is valid until the next call. What was read ahead
  /// before its update was decided is read again: it may have been voided, or never appended.
  Result<FrameView> next(FrameSequence& sequence, UpdateNumber decided);

  std::uint64_t offset() const { return offset_; }
  /// Goes back to a frame that was read: `bytes` is its size. The caller puts the sequence back.
  void go_back(std::size_t bytes) { offset_ -= bytes; }
  /// After a failed next(): there is no frame here, only zeros, the file's end or an older frame
  /// that a recycled segment still holds.
  bool at_blank() const { return blank_; }

 private:
  Result<FrameHeader> header_of(std::string_view head);
  Result<FrameView> read_frame();
  Result<std::string_view> bytes(std::size_t size);

  os::File& file_;
  std::uint64_t offset_;
  std::string buffer_;
  std::uint64_t buffer_offset_ = 0;
  UpdateNumber buffer_decided_;  // what was decided when the buffer was filled
  UpdateNumber decided_;
  std::size_t chunk_ = 8192;
  bool blank_ = false;
};

}  // namespace hotbackup::journal
