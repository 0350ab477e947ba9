// SPDX-License-Identifier: Apache-2.0
#include "slave/apply_machine.h"

namespace hotbackup::slave {

// Without the file everything that the journal holds is done again, which is right only if that is
// everything there ever was.
Result<> ApplyMachine::resume(const std::optional<AppliedRange>& file, UpdateNumber made,
                              UpdateNumber oldest) {
  if (!file && made.value != 0 && oldest.value > 1)
    return fail(ErrorCode::kCorrupt,
                "the applied file is missing, so nothing says what the copies "
                "hold");
  const AppliedRange range = file.value_or(AppliedRange{UpdateNumber(0), made});
  if (made < range.lower)
    return fail(ErrorCode::kCorrupt, "the journal ends at update " + std::to_string(made.value) +
                                         ", but the copies hold everything through " +
                                         std::to_string(range.lower.value));
  range_ = range;
  done_ = last_ = range_.lower;
  reach_ = std::min(range_.upper, made);
  at_ = done_.next();
  end_before_.reset();
  voids_.clear();
  return {};
}

UpdateNumber ApplyMachine::shown_after_restart(UpdateNumber shown) const {
  return shown < range_.lower || shown > reach_ ? range_.lower : shown;
}

UpdateNumber ApplyMachine::begin_batch() {
  at_ = done_.next();
  last_ = done_;
  return at_;
}

UpdateNumber ApplyMachine::batch_end(UpdateNumber synced) const {
  return end_before_ ? end_before_->previous() : synced;
}

// A batch ends where it is large enough, before an update that wants much room, and at the limit
// that the applied file sets; but never before what readers may have seen. The limit counts
// updates; where they have become longer than they were, bytes end the stretch.
ApplyMachine::Before ApplyMachine::before_update(const journal::FrameHeader& header,
                                                 std::uint64_t batch_bytes) const {
  const bool used_up = stretch_bytes_ >= limits_.stretch_bytes && last_ >= reach_;
  const bool beyond = used_up || header.number > range_.upper;
  Before before;
  before.extend = beyond;
  before.commit = last_ > done_ && last_ >= reach_ &&
                  (beyond || batch_bytes + header.update_bytes > limits_.batch_bytes ||
                   header.update_bytes > kLargeUpdateBytes);
  return before;
}

// By fewer updates where they are long, since a restart does the whole stretch again in one
// transaction.
AppliedRange ApplyMachine::next_range(const journal::FrameHeader& next) const {
  const std::uint64_t updates = std::max<std::uint64_t>(done_.value - range_.lower.value, 1);
  const std::uint64_t typical =
      std::max<std::uint64_t>({stretch_bytes_ / updates, next.update_bytes, 1});
  const std::uint64_t count =
      std::clamp<std::uint64_t>(limits_.stretch_bytes / typical, 1, limits_.stretch_updates);
  return {done_, UpdateNumber(done_.value + count)};
}

void ApplyMachine::extended(const AppliedRange& range) {
  range_ = range;
  stretch_bytes_ = 0;
}

ApplyMachine::Take ApplyMachine::take(const journal::FrameHeader& header) {
  if (skipped_.count(header.number) != 0) return Take::kSkip;
  if (header.kind != journal::FrameKind::kUpdate) return Take::kApply;
  if (voids_.count(header.number) != 0) return Take::kSkip;
  if (!header.is_void()) return Take::kApply;
  if (header.part == 0) return Take::kSkip;
  voids_.insert(header.number);
  return Take::kAgain;
}

void ApplyMachine::taken(const journal::FrameHeader& header, std::uint64_t frame_bytes) {
  stretch_bytes_ += frame_bytes;
  if (header.last_part) last_ = header.number;
}

std::optional<UpdateNumber> ApplyMachine::committed() {
  const bool moved = last_ > done_;
  done_ = last_;
  voids_.clear();
  if (end_before_ && done_ == end_before_->previous()) end_before_.reset();
  if (!moved || done_ < reach_) return std::nullopt;
  return done_;
}

void ApplyMachine::redo() {
  reach_ = std::max({reach_, done_, last_});
  done_ = last_ = range_.lower;
  at_ = done_.next();
  end_before_.reset();
  voids_.clear();
}

bool ApplyMachine::failed() {
  if (at_ <= done_.next() || at_.previous() < reach_) return false;
  end_before_ = at_;
  return true;
}

}  // namespace hotbackup::slave
