// SPDX-License-Identifier: Apache-2.0
// Which of the received updates are to be applied now: a pause, a delay, and how far a person wants
// the copies whatever those say. Headers in, decisions out; no I/O, no clock. DESIGN section 8.
#pragma once

#include <algorithm>
#include <chrono>
#include <limits>

#include "common/base/clock.h"
#include "common/journal/frame.h"

namespace hotbackup::slave {

class ApplySchedule {
 public:
  /// An update is applied `delay` after its commit on the master, by this node's clock.
  explicit ApplySchedule(std::chrono::milliseconds delay) : delay_(delay) {}

  /// What people decided last; `through`: applied at once, paused or not, 0: none.
  void decide(bool paused, UpdateNumber through) {
    paused_ = paused;
    through_ = through;
    next_due_ = {};
  }

  /// Nothing later is applied for now, by what people decided.
  UpdateNumber limit(UpdateNumber done) const {
    if (!paused_) return UpdateNumber(std::numeric_limits<std::uint64_t>::max());
    return std::max(done, through_);
  }
  bool paused(UpdateNumber done) const { return paused_ && through_ <= done; }

  /// Whether an update may be applied at `now`. Where not, nothing is due before next_due().
  bool due(const journal::FrameHeader& header, WallTime now) {
    const WallTime at = header.commit_time + delay_;
    if (header.number <= through_ || at <= now) return true;
    // A clock that was far ahead does not hold the copies for longer than the delay.
    next_due_ = std::min(at, now + delay_);
    return false;
  }
  WallTime next_due() const { return next_due_; }

 private:
  const std::chrono::milliseconds delay_;
  bool paused_ = false;
  UpdateNumber through_;
  WallTime next_due_;
};

}  // namespace hotbackup::slave
