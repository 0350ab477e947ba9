// SPDX-License-Identifier: Apache-2.0
#include "slave/applier.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/control/apply_decisions.h"
#include "slave/record_file.h"
#include "slave/rejoiner.h"
#include "slave/seeder.h"
#include "slave/setaside.h"

namespace hotbackup::slave {
namespace {

using std::chrono::steady_clock;

/// A long update whose last frame says that it is void: everything is done again without it.
constexpr char kFoundVoid[] = "void";
constexpr std::chrono::milliseconds kHoldLook{50};  // it may run out
constexpr char kNoSpaceCode[] = "HB-no-space";
constexpr char kApplyFailedCode[] = "HB-apply-failed";
constexpr char kCopyFailedCode[] = "HB-copy-failed";
constexpr char kJournalDamagedCode[] = "HB-journal-damaged";

}  // namespace

Applier::Applier(control::Group& group, Copies& copies,
                 std::function<void(UpdateNumber)> on_applied, ApplierLimits limits)
    : group_(group),
      copies_(copies),
      on_applied_(std::move(on_applied)),
      limits_(limits),
      machine_(limits),
      schedule_(limits.delay) {
  group_.layout().apply_delay_ms.store(static_cast<std::uint64_t>(limits_.delay.count()));
}

Result<> Applier::start() {
  HOTBACKUP_CHECK(!thread_.joinable());
  HOTBACKUP_TRY(Seeder::discard_unfinished(group_));
  HOTBACKUP_TRY(Rejoiner::resume(group_));
  HOTBACKUP_TRY(restore_range());
  HOTBACKUP_TRY(read_undo());
  answered_ = group_.layout().apply_request.load();
  HOTBACKUP_TRY(read_decisions());
  HOTBACKUP_TRY(remove_applied_set_aside(group_, machine_.range().lower));
  stopping_.store(false);
  incident_shown_ = true;  // by an earlier run perhaps: gone when something is applied
  failures_ = group_.incidents().find(kCopyFailedCode) ? 1 : 0;  // by an earlier run
  looked_ = {};
  reader_.reset();
  group_.layout().apply_answered.store(answered_);
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

Result<> Applier::read_undo() {
  HOTBACKUP_ASSIGN(undo_, pending_undo(group_));
  if (!undo_) return {};
  if (machine_.range().lower >= undo_->through) return end_undo();  // the last run died before that
  if (undo_->phase == Rejoin::Phase::kCut) machine_.undo_through(undo_->through);
  return {};
}

bool Applier::has_work() const {
  const UpdateNumber end = std::min({group_.synced(), hold_at_, schedule_.limit(machine_.done())});
  return end > machine_.done() && schedule_.next_due() <= wall_now() &&
         (!undo_ || group_.synced() >= undo_->through);
}

// What is fetched shows a later state than the updates that follow: they are absolute, and end
// where it does.
Result<> Applier::undo(ApplyBatch& batch) {
  step_ = Step::kRead;
  HOTBACKUP_ASSIGN(auto items, RecordFile::open(rejoin_items_path(group_)));
  for (;;) {
    step_ = Step::kRead;
    HOTBACKUP_ASSIGN(const auto record, items.next(undo_->bytes));
    if (!record) break;
    step_ = Step::kApply;
    HOTBACKUP_TRY(batch.apply_body(record->environment, record->body, undo_->bytes));
  }
  if (!batch.whole()) return fail(ErrorCode::kCorrupt, "a large value that was fetched ends early");
  return {};
}

// Cut short, it is all done again.
Result<> Applier::end_undo() {
  HOTBACKUP_TRY(settle());
  HOTBACKUP_TRY(remove_rejoin(group_));
  undo_.reset();
  return {};
}

// A stop of whatever kind ends: what failed is tried again.
Result<> Applier::read_decisions() {
  HOTBACKUP_ASSIGN(auto decisions, control::read_apply_decisions(group_.directory()));
  schedule_.decide(decisions.paused.value_or(limits_.paused_at_first), decisions.through);
  machine_.skip(std::move(decisions.skipped));
  failed_.store(false);
  show_state(control::ApplyState::kRunning);
  return {};
}

void Applier::show_state(control::ApplyState otherwise) {
  const bool paused = schedule_.paused(machine_.done());
  const auto state = paused ? control::ApplyState::kPaused : otherwise;
  group_.layout().apply_state.store(static_cast<std::uint32_t>(state));
}

void Applier::take_requests() {
  control::Layout& layout = group_.layout();
  const std::uint32_t request = layout.apply_request.load();
  if (request == answered_) return;
  if (const auto read = read_decisions(); !read) {
    group_.incidents().raise("HB-applied-unknown", "", read.error().text());
    stop_at(machine_.done().next());
  }
  looked_ = {};
  look_after_copies();
  answered_ = request;
  layout.apply_answered.store(request);
  group_.notify_acknowledged();
}

// What is wrong otherwise than by another file in a copy's place shows when it is applied to.
void Applier::look_after_copies() {
  const auto now = steady_clock::now();
  if (now - looked_ < limits_.check_period / 2) return;
  looked_ = now;
  if (const auto looked = copies_.look_after();
      !looked && looked.error().code() == ErrorCode::kFenced)
    stop_at(machine_.done().next());
}

void Applier::stop_at(UpdateNumber number) {
  control::Layout& layout = group_.layout();
  layout.apply_stopped_at.store(number.value);
  show_state(control::ApplyState::kStopped);
  failed_.store(true);
  group_.notify_acknowledged();
}

void Applier::wake() {
  os::futex_notify(group_.layout().apply_wake);
}

void Applier::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true);
  wake();
  thread_.join();
}

void Applier::sleep_for(std::chrono::milliseconds pause) {
  const std::atomic<std::uint32_t>& word = group_.layout().apply_wake;
  const auto end = steady_clock::now() + pause;
  while (!stopping_.load() && !requested()) {
    const std::uint32_t seen = word.load();
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - steady_clock::now());
    if (left.count() <= 0 || stopping_.load()) return;
    os::futex_wait(word, seen, left);
  }
}

void Applier::run() {
  const std::atomic<std::uint32_t>& word = group_.layout().apply_wake;
  while (!stopping_.load()) {
    const std::uint32_t seen = word.load();
    take_requests();
    look_after_copies();
    const bool stands = stands_still();
    if (stands || failed_.load() || !has_work()) {
      wait_for_work(seen, stands ? kHoldLook : limits_.check_period / 2);
      continue;
    }
    ApplyBatch batch(group_, copies_);
    if (auto done = apply_available(batch); !done && react(batch, done.error()) == Outcome::kPause)
      sleep_for(limits_.retry);
  }
  close();
}

void Applier::wait_for_work(std::uint32_t seen, std::chrono::milliseconds pause) {
  if (const auto left = schedule_.next_due() - wall_now(); left > left.zero())
    pause = std::min(pause, std::chrono::ceil<std::chrono::milliseconds>(left));
  os::futex_wait(group_.layout().apply_wake, seen, pause);
}

// After a stop in good order the next start has nothing to do again.
void Applier::close() {
  (void)settle();
  reader_.reset();
  copies_.close_all();
}

// All that was applied is durable, and nothing beyond it was begun.
Result<> Applier::settle() {
  if (!machine_.settled()) return {};
  HOTBACKUP_TRY(copies_.sync());
  const AppliedRange range{machine_.done(), machine_.done()};
  HOTBACKUP_TRY(write_applied(group_, range));
  machine_.extended(range);
  durable_.store(range.lower.value);
  if (std::exchange(failures_, 0) != 0) group_.incidents().clear(kCopyFailedCode);
  return {};
}

Result<> Applier::apply_available(ApplyBatch& batch) {
  const UpdateNumber first = machine_.begin_batch();
  const UpdateNumber limit = schedule_.limit(machine_.done());
  if (!undo_) machine_.reach_at_most(limit);
  const UpdateNumber wanted = std::max(limit, machine_.reach());
  const UpdateNumber through = machine_.batch_end(std::min({group_.synced(), hold_at_, wanted}));
  if (undo_) HOTBACKUP_TRY(undo(batch));
  step_ = Step::kRead;
  if (!reader_) {
    reader_.emplace(group_.journal_directory(), group_.id());
    HOTBACKUP_TRY(reader_->seek(first));
  }
  while (!stopping_.load()) {
    if ((requested() || hold_asked()) && reader_->at_boundary() && machine_.may_end_here()) break;
    machine_.at_frame(reader_->next_number());
    step_ = Step::kRead;
    HOTBACKUP_ASSIGN(const auto frame, next_due_frame(through));
    if (!frame) break;
    step_ = Step::kApply;
    if (frame->header.part == 0) HOTBACKUP_TRY(start_update(batch, frame->header));
    HOTBACKUP_TRY(apply_frame(batch, *frame));
  }
  if (stopping_.load() && (!reader_->at_boundary() || !machine_.may_end_here())) {
    reader_.reset();  // the batch ends uncommitted
    return {};
  }
  return commit(batch);
}

Result<std::optional<journal::FrameView>> Applier::next_due_frame(UpdateNumber through) {
  HOTBACKUP_ASSIGN(const auto frame, reader_->next(through));
  if (!frame || frame->header.part != 0 || undo_ || schedule_.due(frame->header, wall_now()))
    return frame;
  machine_.reach_at_most(frame->header.number.previous());
  reader_->unread();
  return std::nullopt;
}

Result<> Applier::start_update(ApplyBatch& batch, const journal::FrameHeader& header) {
  const ApplyMachine::Before before = machine_.before_update(header, batch.bytes());
  if (before.commit) HOTBACKUP_TRY(commit(batch));
  if (before.extend) HOTBACKUP_TRY(extend_stretch(header));
  step_ = Step::kApply;
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
    case journal::FrameKind::kMark:
    case journal::FrameKind::kRules:  // this node has its own, compared at each connect
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
  step_ = Step::kCommit;
  if (auto committed = batch.commit(); !committed) {
    machine_.commit_failed();
    return committed;
  }
  opened_anew_ = false;
  const auto visible = machine_.committed();
  if (undo_ && visible) HOTBACKUP_TRY(end_undo());
  if (failures_ != 0) HOTBACKUP_TRY(settle());
  if (std::exchange(incident_shown_, false)) HOTBACKUP_TRY(clear_own_incident());
  if (!visible) return {};
  group_.layout().applied.store(visible->value);
  show_state(control::ApplyState::kRunning);
  group_.notify_acknowledged();
  if (on_applied_) on_applied_(*visible);
  return {};
}

// Not that somebody wrote to a copy: applying further does not mend it.
Result<> Applier::clear_own_incident() {
  for (const char* code : {kNoSpaceCode, kApplyFailedCode, kJournalDamagedCode})
    group_.incidents().clear(code);
  return remove_applied_set_aside(group_, machine_.done());
}

// Everything so far becomes durable before the limit moves on.
Result<> Applier::extend_stretch(const journal::FrameHeader& next) {
  step_ = Step::kCommit;
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
  if (step_ != Step::kRead && (rc == MDB_MAP_FULL || rc == MDB_MAP_RESIZED)) {
    const auto grown = batch.make_room_after_failure();
    return grown ? Outcome::kGoOn : react_to_rest(batch.failure(), grown.error());
  }
  return react_to_rest(batch.failure(), error);
}

Applier::Outcome Applier::react_to_rest(const ApplyBatch::Failure& where, const Error& error) {
  if (error.code() == ErrorCode::kNoSpace) {
    group_.incidents().raise(kNoSpaceCode, "", "applying waits for room: " + error.text());
    incident_shown_ = true;
    return Outcome::kPause;
  }
  if (step_ == Step::kCommit || (step_ == Step::kApply && error.os_error() == EIO))
    return begin_again(error);
  if (machine_.failed()) return Outcome::kGoOn;
  // A main database becomes DUPSORT only where no named one has been opened.
  if (step_ == Step::kApply && error.os_error() == MDB_INCOMPATIBLE &&
      !std::exchange(opened_anew_, true)) {
    copies_.open_anew();
    return Outcome::kGoOn;
  }
  if (step_ == Step::kApply && error.code() != ErrorCode::kFenced)
    return set_aside_and_stop(where, error);
  // Another file in a copy's place has its incident.
  if (step_ == Step::kRead) group_.incidents().raise(kJournalDamagedCode, "", error.text());
  stop_at(machine_.at());
  return Outcome::kStop;
}

// A write or sync of the copies failed. What the page cache shows of them is not believed (rule
// R10): the applied file stays, the copies are opened anew, and everything since is done again in
// one batch, so that readers do not see time go back. Once is tried at once, in silence.
Applier::Outcome Applier::begin_again(const Error& error) {
  copies_.close_after_failure();
  machine_.redo();
  if (++failures_ == 1) return Outcome::kGoOn;
  group_.incidents().raise(kCopyFailedCode, "", "applying waits for the disk: " + error.text());
  return Outcome::kPause;
}

Applier::Outcome Applier::set_aside_and_stop(const ApplyBatch::Failure& where, const Error& error) {
  const UpdateNumber number = machine_.at();
  const std::string what =
      "update " + std::to_string(number.value) + " cannot be applied: " + error.text();
  incident_shown_ = true;
  const auto kept =
      set_aside(group_, {number, where.environment, where.database, where.key, error.text()});
  if (!kept) {
    group_.incidents().raise(kApplyFailedCode, "",
                             what + "; nor can it be set aside: " + kept.error().text());
    return Outcome::kPause;
  }
  group_.incidents().raise(kApplyFailedCode, "", what);
  (void)settle();  // where it fails, the next start does the range again
  stop_at(number);
  return Outcome::kStop;
}

}  // namespace hotbackup::slave
