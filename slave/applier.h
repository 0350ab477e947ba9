// SPDX-License-Identifier: Apache-2.0
// Brings the copies level with the slave's own journal. DESIGN section 8, docs/formats/applied.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "common/control/group.h"
#include "common/journal/reader.h"
#include "slave/applied_file.h"
#include "slave/apply_batch.h"
#include "slave/apply_machine.h"
#include "slave/apply_schedule.h"
#include "slave/copies.h"
#include "slave/rejoin_file.h"

namespace hotbackup::slave {

struct ApplierLimits : ApplyMachine::Limits {
  std::chrono::milliseconds retry{1000};         // pause after a full or failing disk
  std::chrono::milliseconds check_period{1000};  // copies are looked after at least this often
  bool paused_at_first = false;                  // until the first pause or resume
  std::chrono::milliseconds delay{0};            // since an update's commit on the master
};

/// Owned by the slave server, one a group. start and stop never overlap; all work is
/// done on the applier's own thread, which blocks on the disk and on LMDB's writer lock.
/// What cannot be applied is set aside and stops it with an incident, until a command says `retry`
/// or `skip`; receiving does not depend on it. Commands speak through layout.apply_request.
class Applier {
 public:
  /// Borrows group and copies. `on_applied` is called on the applier's thread each time the applied
  /// number has moved (layout.applied is set and notified before). What a rejoin fetched is applied
  /// together with the updates through the number it shows, in one transaction per environment.
  Applier(control::Group& group, Copies& copies, std::function<void(UpdateNumber)> on_applied,
          ApplierLimits limits = {});
  ~Applier() { stop(); }

  /// Call before the first handshake: a seed that was cut short is undone here, so that the journal
  /// says number 0 and the master seeds again. kCorrupt when the applied file is damaged or missing
  /// while the journal has updates. May be called again after stop().
  Result<> start();
  /// After the journal's synced number has moved. Any thread.
  void wake();
  /// Finishes the batch at hand, makes the copies durable, closes them and joins the thread. Takes
  /// as long as a program keeps a write transaction open in a copy.
  void stop();

  /// Visible to readers of every copy through this number.
  UpdateNumber applied() const { return UpdateNumber(group_.layout().applied.load()); }
  /// False after an update that could not be applied (the group's incident says why).
  bool working() const { return !failed_.load(); }
  /// Segments of the journal must be kept from the update after this: it is durable in the copies.
  UpdateNumber durable() const { return UpdateNumber(durable_.load()); }

 private:
  static constexpr std::uint64_t kNoHold = ~std::uint64_t{0};
  enum class Outcome { kGoOn, kPause, kStop };
  /// What an error now comes from: the journal, one update, or all that was applied so far.
  enum class Step { kRead, kApply, kCommit };

  Result<> restore_range();
  Result<> read_undo();
  Result<> undo(ApplyBatch& batch);
  Result<> end_undo();
  bool has_work() const;
  Result<> read_decisions();
  void take_requests();
  bool requested() const { return group_.layout().apply_request.load() != answered_; }
  void look_after_copies();
  void show_state(control::ApplyState otherwise);
  void stop_at(UpdateNumber number);
  void wait_for_work(std::uint32_t seen, std::chrono::milliseconds pause);
  Result<std::optional<journal::FrameView>> next_due_frame(UpdateNumber through);
  void run();
  void close();
  void sleep_for(std::chrono::milliseconds pause);
  Result<> apply_available(ApplyBatch& batch);
  Result<> start_update(ApplyBatch& batch, const journal::FrameHeader& header);
  Result<> apply_frame(ApplyBatch& batch, const journal::FrameView& frame);
  Result<> perform(ApplyBatch& batch, const journal::FrameView& frame);
  Result<> commit(ApplyBatch& batch);
  Result<> extend_stretch(const journal::FrameHeader& next);
  Result<> clear_own_incident();
  Outcome react(ApplyBatch& batch, const Error& error);
  Outcome react_to_rest(const ApplyBatch::Failure& where, const Error& error);
  Outcome begin_again(const Error& error);
  Outcome set_aside_and_stop(const ApplyBatch::Failure& where, const Error& error);
  Result<> settle();
  bool stands_still();
  bool hold_asked() const;
  Result<> apply_repair();

  control::Group& group_;
  Copies& copies_;
  const std::function<void(UpdateNumber)> on_applied_;
  const ApplierLimits limits_;

  std::thread thread_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> failed_{false};
  std::atomic<std::uint64_t> durable_{0};  // the range's lower end, for other threads

  // Applier's thread only, between start and stop.
  ApplyMachine machine_;
  Step step_ = Step::kRead;
  std::optional<journal::Reader> reader_;  // positioned after machine_.at(), or nothing
  bool incident_shown_ = true;             // perhaps one of this class's own
  std::optional<Rejoin> undo_;             // before anything else is applied
  ApplySchedule schedule_;
  UpdateNumber hold_at_{kNoHold};                 // nothing later is applied for now
  std::uint32_t answered_ = 0;                    // the last request that was taken
  unsigned failures_ = 0;                         // of the copies' disk, since it last worked
  bool opened_anew_ = false;                      // the copies, since a commit
  std::chrono::steady_clock::time_point looked_;  // after the copies
};

/// What a comparison has fetched, as a record file: control::HoldState.
std::string repair_path(const control::Group& group);

}  // namespace hotbackup::slave
