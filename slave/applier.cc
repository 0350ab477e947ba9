// SPDX-License-Identifier: Apache-2.0
#include "slave/applier.h"

#include <algorithm>

#include "common/base/check.h"
#include "slave/seeder.h"

namespace hotbackup::slave {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kIdleLook{1000};

/// A long update whose last frame says that it is void: everything is done again without it.
constexpr char kFoundVoid[] = "void";
constexpr char kNoSpaceCode[] = "HB-no-space";
constexpr char kApplyFailedCode[] = "HB-apply-failed";
constexpr char kJournalDamagedCode[] = "HB-journal-damaged";
/// An update of this size gets its room before its transaction begins.
constexpr std::uint64_t kLargeUpdateBytes = 1 << 20;

}  // namespace

Applier::Applier(control::Group& group, Copies& copies,
                 std::function<void(UpdateNumber)> on_applied, ApplierLimits limits)
    : group_(group), copies_(copies), on_applied_(std::move(on_applied)), limits_(limits) {}

Result<> Applier::start() {
  HOTBACKUP_CHECK(!thread_.joinable());
  HOTBACKUP_TRY(Seeder::discard_unfinished(group_));
  HOTBACKUP_TRY(restore_range());
  stopping_.store(false);
  failed_.store(false);
  incident_shown_ = true;  // by an earlier run perhaps: gone when something is applied
  end_before_.reset();
  voids_.clear();
  reader_.reset();
  thread_ = std::thread([this] { run(); });
  return {};
}

// What the last run left. Without the file everything that the journal holds is done again, which
// is right only if that is everything there ever was.
Result<> Applier::restore_range() {
  HOTBACKUP_ASSIGN(const auto range, read_applied(group_));
  const UpdateNumber made = group_.made();
  if (!range && made.value != 0) {
    HOTBACKUP_ASSIGN(const auto oldest, journal::oldest_update(group_.journal_directory()));
    if (oldest.value > 1)
      return fail(ErrorCode::kCorrupt, group_.directory() +
                                           "/applied is missing, so nothing says what the copies "
                                           "hold");
  }
  range_ = range.value_or(AppliedRange{UpdateNumber(0), made});
  if (made < range_.lower)
    return fail(ErrorCode::kCorrupt, "the journal ends at update " + std::to_string(made.value) +
                                         ", but the copies hold everything through " +
                                         std::to_string(range_.lower.value));
  done_ = range_.lower;
  reach_ = std::min(range_.upper, made);
  durable_.store(range_.lower.value);
  // A number shown before a crash of this server still holds: readers did see it.
  std::atomic<std::uint64_t>& applied = group_.layout().applied;
  if (applied.load() < range_.lower.value || applied.load() > reach_.value)
    applied.store(range_.lower.value);
  return {};
}

void Applier::wake() {
  os::futex_notify(wake_);
}

void Applier::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true);
  wake();
  thread_.join();
}

void Applier::sleep_for(std::chrono::milliseconds pause) {
  const auto end = steady_clock::now() + pause;
  while (!stopping_.load()) {
    const std::uint32_t seen = wake_.load();
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - steady_clock::now());
    if (left.count() <= 0 || stopping_.load()) return;
    os::futex_wait(wake_, seen, left);
  }
}

void Applier::run() {
  while (!stopping_.load()) {
    const std::uint32_t seen = wake_.load();
    if (failed_.load() || group_.synced() <= done_) {
      os::futex_wait(wake_, seen, kIdleLook);
      continue;
    }
    ApplyBatch batch(group_, copies_);
    if (auto done = apply_available(batch); !done && react(batch, done.error()) == Outcome::kPause)
      sleep_for(limits_.retry);
  }
  close();
}

// After a stop in good order the next start has nothing to do again.
void Applier::close() {
  if (done_ >= reach_ && copies_.sync()) {
    if (write_applied(group_, {done_, done_})) durable_.store(done_.value);
  }
  reader_.reset();
  copies_.close_all();
}

Result<> Applier::apply_available(ApplyBatch& batch) {
  const UpdateNumber through = end_before_ ? end_before_->previous() : group_.synced();
  at_ = done_.next();
  last_ = done_;
  reading_ = true;
  if (!reader_) {
    reader_.emplace(group_.journal_directory(), group_.id());
    HOTBACKUP_TRY(reader_->seek(at_));
  }
  while (!stopping_.load()) {
    at_ = reader_->next_number();
    reading_ = true;
    HOTBACKUP_ASSIGN(const auto frame, reader_->next(through));
    if (!frame) break;
    reading_ = false;
    if (frame->header.part == 0) HOTBACKUP_TRY(start_update(batch, frame->header));
    HOTBACKUP_TRY(apply_frame(batch, *frame));
    stretch_bytes_ += frame->bytes.size();
    if (frame->header.last_part) last_ = at_;
  }
  reading_ = false;
  if (stopping_.load() && (!reader_->at_boundary() || last_ < reach_)) {
    reader_.reset();  // the batch ends uncommitted
    return {};
  }
  HOTBACKUP_TRY(commit(batch));
  if (end_before_ && done_ == end_before_->previous()) end_before_.reset();
  return {};
}

// A batch ends where it is large enough, before an update that wants much room, and at the limit
// that the applied file sets; but never before what readers may have seen.
Result<> Applier::start_update(ApplyBatch& batch, const journal::FrameHeader& header) {
  // The limit counts updates; where they have become longer than they were, bytes end the stretch.
  const bool used_up = stretch_bytes_ >= limits_.stretch_bytes && last_ >= reach_;
  const bool beyond = used_up || header.number > range_.upper;
  if (last_ > done_ && last_ >= reach_ &&
      (beyond || batch.bytes() + header.update_bytes > limits_.batch_bytes ||
       header.update_bytes > kLargeUpdateBytes))
    HOTBACKUP_TRY(commit(batch));
  if (beyond) HOTBACKUP_TRY(extend_stretch(header));
  return {};
}

Result<> Applier::apply_frame(ApplyBatch& batch, const journal::FrameView& frame) {
  switch (frame.header.kind) {
    case journal::FrameKind::kUpdate:
      if (voids_.count(at_) != 0) return {};
      if (!frame.header.is_void()) return batch.apply(frame);
      if (frame.header.part == 0) return {};
      voids_.insert(at_);
      return fail(ErrorCode::kCancelled, kFoundVoid);
    case journal::FrameKind::kEnvironment: {
      HOTBACKUP_ASSIGN(const auto environment, update::read_environment(frame.body));
      return copies_.add(environment);
    }
    case journal::FrameKind::kBaseline:
      return {};
    case journal::FrameKind::kEpoch: {
      HOTBACKUP_ASSIGN(const auto body, update::read_epoch(frame.body));
      if (body.epoch.counter >= group_.epoch().counter) group_.set_epoch(body.epoch);
      return {};
    }
  }
  return fail(ErrorCode::kVersion, "a frame of an unknown kind");
}

Result<> Applier::commit(ApplyBatch& batch) {
  if (auto committed = batch.commit(); !committed) {
    reach_ = std::max(reach_, last_);
    return committed;
  }
  const bool moved = last_ > done_;
  done_ = last_;
  voids_.clear();
  if (std::exchange(incident_shown_, false)) clear_own_incident();
  if (!moved || done_ < reach_) return {};
  group_.layout().applied.store(done_.value);
  group_.notify_acknowledged();
  if (on_applied_) on_applied_(done_);
  return {};
}

// Not that somebody wrote to a copy: applying further does not mend it.
void Applier::clear_own_incident() {
  for (const char* code : {kNoSpaceCode, kApplyFailedCode, kJournalDamagedCode})
    group_.incidents().clear(code);
}

// Everything so far becomes durable and the limit moves on: by fewer updates where they are long,
// since a restart does the whole stretch again in one transaction.
Result<> Applier::extend_stretch(const journal::FrameHeader& next) {
  HOTBACKUP_TRY(copies_.sync());
  const std::uint64_t updates = std::max<std::uint64_t>(done_.value - range_.lower.value, 1);
  const std::uint64_t typical =
      std::max<std::uint64_t>({stretch_bytes_ / updates, next.update_bytes, 1});
  const std::uint64_t count =
      std::clamp<std::uint64_t>(limits_.stretch_bytes / typical, 1, limits_.stretch_updates);
  const AppliedRange range{done_, UpdateNumber(done_.value + count)};
  HOTBACKUP_TRY(write_applied(group_, range));
  range_ = range;
  durable_.store(range.lower.value);
  stretch_bytes_ = 0;
  return {};
}

Applier::Outcome Applier::react(ApplyBatch& batch, const Error& error) {
  batch.abort();
  reader_.reset();
  if (error.code() == ErrorCode::kCancelled && error.text() == kFoundVoid) return Outcome::kGoOn;
  const int rc = error.os_error();
  if (!reading_ && (rc == MDB_MAP_FULL || rc == MDB_MAP_RESIZED)) {
    const auto grown = batch.make_room_after_failure();
    return grown ? Outcome::kGoOn : react_to_rest(grown.error());
  }
  return react_to_rest(error);
}

Applier::Outcome Applier::react_to_rest(const Error& error) {
  if (error.code() == ErrorCode::kNoSpace) {
    group_.incidents().raise(kNoSpaceCode, "", "applying waits for room: " + error.text());
    incident_shown_ = true;
    return Outcome::kPause;
  }
  // What comes before it in the batch can still be applied.
  if (at_ > done_.next() && at_.previous() >= reach_) {
    end_before_ = at_;
    return Outcome::kGoOn;
  }
  failed_.store(true);
  if (reading_) {
    group_.incidents().raise(kJournalDamagedCode, "", error.text());
  } else {
    group_.incidents().raise(
        kApplyFailedCode, "",
        "update " + std::to_string(at_.value) + " cannot be applied: " + error.text());
  }
  return Outcome::kStop;
}

}  // namespace hotbackup::slave
