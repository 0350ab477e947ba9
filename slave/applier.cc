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

}  // namespace

Applier::Applier(control::Group& group, Copies& copies,
                 std::function<void(UpdateNumber)> on_applied, ApplierLimits limits)
    : group_(group),
      copies_(copies),
      on_applied_(std::move(on_applied)),
      limits_(limits),
      machine_(limits) {}

Result<> Applier::start() {
  HOTBACKUP_CHECK(!thread_.joinable());
  HOTBACKUP_TRY(Seeder::discard_unfinished(group_));
  HOTBACKUP_TRY(restore_range());
  stopping_.store(false);
  failed_.store(false);
  incident_shown_ = true;  // by an earlier run perhaps: gone when something is applied
  reader_.reset();
  thread_ = std::thread([this] { run(); });
  return {};
}

Result<> Applier::restore_range() {
  HOTBACKUP_ASSIGN(const auto range, read_applied(group_));
  const UpdateNumber made = group_.made();
  UpdateNumber oldest;
  if (!range && made.value != 0) {
    HOTBACKUP_ASSIGN(oldest, journal::oldest_update(group_.journal_directory()));
  }
  if (auto resumed = machine_.resume(range, made, oldest); !resumed)
    return fail(std::move(resumed).error().with_context(group_.directory()));
  durable_.store(machine_.range().lower.value);
  std::atomic<std::uint64_t>& applied = group_.layout().applied;
  applied.store(machine_.shown_after_restart(UpdateNumber(applied.load())).value);
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
    if (failed_.load() || group_.synced() <= machine_.done()) {
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
  const UpdateNumber done = machine_.done();
  if (machine_.settled() && copies_.sync() && write_applied(group_, {done, done}))
    durable_.store(done.value);
  reader_.reset();
  copies_.close_all();
}

Result<> Applier::apply_available(ApplyBatch& batch) {
  const UpdateNumber first = machine_.begin_batch();
  const UpdateNumber through = machine_.batch_end(group_.synced());
  reading_ = true;
  if (!reader_) {
    reader_.emplace(group_.journal_directory(), group_.id());
    HOTBACKUP_TRY(reader_->seek(first));
  }
  while (!stopping_.load()) {
    machine_.at_frame(reader_->next_number());
    reading_ = true;
    HOTBACKUP_ASSIGN(const auto frame, reader_->next(through));
    if (!frame) break;
    reading_ = false;
    if (frame->header.part == 0) HOTBACKUP_TRY(start_update(batch, frame->header));
    HOTBACKUP_TRY(apply_frame(batch, *frame));
  }
  reading_ = false;
  if (stopping_.load() && (!reader_->at_boundary() || !machine_.may_end_here())) {
    reader_.reset();  // the batch ends uncommitted
    return {};
  }
  return commit(batch);
}

Result<> Applier::start_update(ApplyBatch& batch, const journal::FrameHeader& header) {
  const ApplyMachine::Before before = machine_.before_update(header, batch.bytes());
  if (before.commit) HOTBACKUP_TRY(commit(batch));
  if (before.extend) HOTBACKUP_TRY(extend_stretch(header));
  return {};
}

Result<> Applier::apply_frame(ApplyBatch& batch, const journal::FrameView& frame) {
  switch (machine_.take(frame.header)) {
    case ApplyMachine::Take::kApply:
      HOTBACKUP_TRY(perform(batch, frame));
      break;
    case ApplyMachine::Take::kSkip:
      break;
    case ApplyMachine::Take::kAgain:
      return fail(ErrorCode::kCancelled, kFoundVoid);
  }
  machine_.taken(frame.header, frame.bytes.size());
  return {};
}

Result<> Applier::perform(ApplyBatch& batch, const journal::FrameView& frame) {
  switch (frame.header.kind) {
    case journal::FrameKind::kUpdate:
      return batch.apply(frame);
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
    machine_.commit_failed();
    return committed;
  }
  const auto visible = machine_.committed();
  if (std::exchange(incident_shown_, false)) clear_own_incident();
  if (!visible) return {};
  group_.layout().applied.store(visible->value);
  group_.notify_acknowledged();
  if (on_applied_) on_applied_(*visible);
  return {};
}

// Not that somebody wrote to a copy: applying further does not mend it.
void Applier::clear_own_incident() {
  for (const char* code : {kNoSpaceCode, kApplyFailedCode, kJournalDamagedCode})
    group_.incidents().clear(code);
}

// Everything so far becomes durable before the limit moves on.
Result<> Applier::extend_stretch(const journal::FrameHeader& next) {
  HOTBACKUP_TRY(copies_.sync());
  const AppliedRange range = machine_.next_range(next);
  HOTBACKUP_TRY(write_applied(group_, range));
  machine_.extended(range);
  durable_.store(range.lower.value);
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
  if (machine_.failed()) return Outcome::kGoOn;
  failed_.store(true);
  if (reading_) {
    group_.incidents().raise(kJournalDamagedCode, "", error.text());
  } else {
    group_.incidents().raise(
        kApplyFailedCode, "",
        "update " + std::to_string(machine_.at().value) + " cannot be applied: " + error.text());
  }
  return Outcome::kStop;
}

}  // namespace hotbackup::slave
