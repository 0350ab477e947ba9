// SPDX-License-Identifier: Apache-2.0
// What is applied when: which updates form a batch, how far a batch must reach after a crash, when
// the applied file moves on, what a void and a failure do. Frame headers in, decisions out; no I/O,
// no clock, no thread, so that tests and the simulator drive the real code. DESIGN section 8.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>

#include "common/journal/frame.h"

namespace hotbackup::slave {

/// Everything through `lower` is durable in the copies; nothing beyond `upper` was begun. Equal
/// after a clean stop.
struct AppliedRange {
  UpdateNumber lower;
  UpdateNumber upper;
  constexpr bool operator==(const AppliedRange&) const = default;
};

/// The position of one slave's copies. Whoever owns it reads the journal, performs operations and
/// writes the applied file, in the order this says; a batch is one transaction in each environment.
///
///   begin_batch; then for each frame: at_frame; at part 0 before_update and what it asks for;
///   take, and when kApply perform it; taken. At the end, and where before_update says so: commit
///   the transactions, then committed or commit_failed. After any error: failed.
class ApplyMachine {
 public:
  struct Limits {
    std::uint64_t batch_bytes = 16 << 20;    // of journal in one LMDB transaction
    std::uint64_t stretch_updates = 4096;    // between two writes of the applied file
    std::uint64_t stretch_bytes = 64 << 20;  // the same, about
  };
  /// An update of this size gets its room before its transaction begins.
  static constexpr std::uint64_t kLargeUpdateBytes = 1 << 20;

  explicit ApplyMachine(Limits limits) : limits_(limits) {}

  /// What the last run left: the applied file, or nothing where there is none, and the journal's
  /// last and first number (0: empty). kCorrupt where they contradict each other.
  Result<> resume(const std::optional<AppliedRange>& file, UpdateNumber made, UpdateNumber oldest);
  /// After resume(): the copies are to be undone first, and show a whole state again at `through`
  /// only, so the first batch begins when the journal has it.
  void undo_through(UpdateNumber through) { reach_ = std::max(reach_, through); }
  /// After resume(), without undo_through(): what a crash cut off was not to go beyond this.
  void reach_at_most(UpdateNumber number) { reach_ = std::max(done_, std::min(reach_, number)); }
  /// What readers may be told now, if `shown` was the number before: it still holds if it is in
  /// reach, readers did see it.
  UpdateNumber shown_after_restart(UpdateNumber shown) const;

  /// Returns the first update of the batch.
  UpdateNumber begin_batch();
  /// Frames of updates after this are not for this batch. `synced`: durable in the journal.
  UpdateNumber batch_end(UpdateNumber synced) const;
  /// This update is read next: an error from now on is its own.
  void at_frame(UpdateNumber number) { at_ = number; }

  struct Before {
    bool commit = false;  // the batch so far is committed first
    bool extend = false;  // then the copies are synced and the applied file moves on: next_range()
  };
  /// Before the first frame of an update. `batch_bytes`: of journal in the batch so far.
  Before before_update(const journal::FrameHeader& header, std::uint64_t batch_bytes) const;
  /// What the applied file is to say once the copies are durable through done().
  AppliedRange next_range(const journal::FrameHeader& next) const;
  /// It says that, durably.
  void extended(const AppliedRange& range);

  /// Updates that a person has decided never to apply.
  void skip(std::set<UpdateNumber> numbers) { skipped_ = std::move(numbers); }

  enum class Take {
    kApply,
    kSkip,   // void, or to be skipped
    kAgain,  // found void after it was begun: abort, and begin the batch again without it
  };
  Take take(const journal::FrameHeader& header);
  void taken(const journal::FrameHeader& header, std::uint64_t frame_bytes);

  /// Whether a batch that ends before its time may be committed as it stands.
  bool may_end_here() const { return last_ >= reach_; }
  /// The transactions are visible. Returns the number that readers may be told, if it has moved.
  std::optional<UpdateNumber> committed();
  /// Some environments may show the batch: the next reaches at least as far.
  void commit_failed() { reach_ = std::max(reach_, last_); }
  /// An update that cannot be applied. True: what comes before it in the batch still can, begin
  /// again; false: nothing more until the reason is mended.
  bool failed();

  /// It is not sure any more that the copies show what was committed since the applied file was
  /// written: all of that is done again, in one batch.
  void redo();

  /// After a stop in good order, the copies made durable: the next start has nothing to do again.
  bool settled() const { return done_ >= reach_; }

  UpdateNumber done() const { return done_; }
  /// What readers see once the batch is committed.
  UpdateNumber batch_last() const { return last_; }
  UpdateNumber reach() const { return reach_; }
  UpdateNumber at() const { return at_; }
  const AppliedRange& range() const { return range_; }

 private:
  const Limits limits_;
  AppliedRange range_;  // as the applied file says
  UpdateNumber done_;   // the copies hold everything through this
  UpdateNumber reach_;  // no batch may end before this: readers may have seen it
  UpdateNumber last_;   // whole updates in the batch end here; done_ when it is empty
  UpdateNumber at_;     // the update being read or applied
  std::optional<UpdateNumber> end_before_;  // an update that failed: a batch ends before it
  std::set<UpdateNumber> voids_;            // long updates found void after they were begun
  std::set<UpdateNumber> skipped_;
  std::uint64_t stretch_bytes_ = 0;  // read since the last extension
};

}  // namespace hotbackup::slave
