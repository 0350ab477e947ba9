// SPDX-License-Identifier: Apache-2.0
// Reads a journal in order while it grows. Every frame is checked: format, checksum, number, chain.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/journal/frame.h"
#include "common/journal/scan.h"
#include "common/journal/segment.h"
#include "common/os/file.h"

namespace hotbackup::journal {

/// One thread. Borrows the directory. Holds one open segment and a buffer of at most about 1 MiB.
class Reader {
 public:
  Reader(os::Directory& directory, GroupId group) : directory_(directory), group_(group) {}

  /// Goes to the first frame of update `from`. kGap when the journal begins later (the text
  /// says where), kNotFound when the journal does not reach from-1, kCorrupt for damage on the way.
  Result<> seek(UpdateNumber from);

  /// The next frame of an update with number ≤ `through`, or nothing when all of those were read.
  /// `through` must not exceed what is made: behind the tail a recycled segment holds old bytes.
  /// Valid until the next call. kCorrupt names segment and offset of damage; kGap when the segment
  /// was recycled underneath or history is missing.
  Result<std::optional<FrameView>> next(UpdateNumber through);

  /// Goes back to before the frame that next() has just returned.
  void unread();

  /// Position before the next update; meaningful between updates. The epoch is that of the last
  /// frame read or skipped by seek, zero where there was none.
  Position position() const {
    return {epoch_, sequence_->next_number().previous(), sequence_->chain()};
  }
  UpdateNumber next_number() const { return sequence_->next_number(); }
  bool at_boundary() const { return sequence_->at_boundary(); }

 private:
  /// What next() changes, but the open segment.
  struct Before {
    FrameSequence sequence;
    Epoch epoch;
    std::size_t frame_bytes = 0;
  };

  Result<> open_segment(UpdateNumber first);
  Error explain(Error error);

  os::Directory& directory_;
  const GroupId group_;
  std::unique_ptr<os::File> file_;
  SegmentHeader segment_;
  std::optional<SegmentScan> scan_;
  bool provisional_ = false;  // the segment's first frame was not read: it may be replaced yet
  UpdateNumber segment_end_;  // the segment after this one begins here, if there was one
  std::optional<FrameSequence> sequence_;
  Epoch epoch_;
  std::optional<Before> before_;  // the last frame
};

/// First update that the journal still holds; kNotFound when it is empty.
Result<UpdateNumber> oldest_update(os::Directory& directory);
/// Position at update `number` (0: before all).
Result<Position> position_at(os::Directory& directory, const GroupId& group, UpdateNumber number);

}  // namespace hotbackup::journal
