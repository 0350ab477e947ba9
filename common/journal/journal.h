// SPDX-License-Identifier: Apache-2.0
// The writer's side of a group's journal. docs/formats/journal.md.
//
// "append has completed" promises order and nothing else; "sync has completed" promises that the
// updates survive a power loss. append and append_received run under the group's journal lock;
// sync and set_void must not be called while holding it. One Journal per process and group; it
// may be used by several threads (the locks order them).
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "common/journal/pending_update.h"
#include "common/journal/segment.h"
#include "common/journal/tail.h"

namespace hotbackup::journal {

/// Where an update's last frame lies: what a later void needs.
struct FrameLocation {
  UpdateNumber segment_first;
  std::uint64_t offset = 0;    // of the last part's header
  std::uint64_t checksum = 0;  // of that header
};

struct Appended {
  UpdateNumber number;
  FrameLocation location;
};

class Journal {
 public:
  /// Borrows the directory and the tail; both outlive it.
  Journal(os::Directory& directory, SharedTail& tail, GroupId group, std::uint64_t segment_bytes)
      : directory_(directory), tail_(tail), group_(group), segment_bytes_(segment_bytes) {}

  /// Takes the journal lock. When its owner died, what it left behind the tail is zeroed first.
  Result<os::SharedLock> lock();

  /// Appends one update as number made+1. Of `fields`, epoch, environment, kind, txnid and
  /// commit_time count; the rest is filled in. On error nothing has changed but bytes behind the
  /// tail. An update without operations is one frame with an empty body. `announce` is called when
  /// number and location are known and nothing is visible yet: there the commit slot opens.
  using Announce = std::function<void(const Appended&)>;
  Result<Appended> append(os::SharedLock& lock, PendingUpdate& update, FrameHeader fields,
                          const Announce& announce = {});
  /// The same for a control frame with this body.
  Result<Appended> append_control(os::SharedLock& lock, FrameKind kind, std::string_view body,
                                  FrameHeader fields);

  /// Appends frames that came from a master and have passed FrameSequence. `made` moves when the
  /// last part is there. After a disconnection in the middle of an update, drop_partial().
  Result<> append_received(os::SharedLock& lock, const FrameView& frame);
  void drop_partial() { partial_bytes_ = 0; }

  /// Makes the journal durable through update `number` at least; one sync covers all who wait.
  /// After a failed sync what was not durable moves to a new segment (rule R10); kIo or kNoSpace
  /// when that fails too.
  Result<> sync_through(UpdateNumber number);

  /// Sets an update's void word and syncs it. Final; doing it twice changes nothing. Where that
  /// frame does not lie (its append was cut short by a death) there is nothing to void. Takes the
  /// journal lock while it writes.
  Result<> set_void(UpdateNumber number, const FrameLocation& location);

  /// A slave's first contact: the id that frames carry from now on; the journal is empty.
  void adopt_group(const GroupId& group);

  /// Starts an empty journal whose next update follows `at` (a slave after a seed). Segments that
  /// are there are removed first.
  Result<> restart_after(os::SharedLock& lock, const Position& at);

  /// Takes the journal back to `at`, which it holds: everything after it is gone for good, durably.
  /// May be cut short and done again. kGap where the journal does not hold `at`, kDiverged where it
  /// holds another history; then nothing has changed. Nobody else may be appending.
  Result<> cut_after(os::SharedLock& lock, const Position& at);

 private:
  struct Completed;
  Completed complete_in_memory(PendingUpdate& update, FrameHeader& fields) const;
  Result<Completed> complete_spilled(PendingUpdate& update, FrameHeader& fields) const;
  Result<Appended> append_spilled(PendingUpdate& update, FrameHeader& fields,
                                  const Announce& announce);
  Result<> mend_tail();
  Result<std::shared_ptr<os::File>> active();
  Result<> make_room(std::uint64_t needed_bytes);
  /// kNoSpace without an OS error where a new segment would lead beyond the limit.
  Result<> check_limit(std::uint64_t needed_bytes);
  Result<> end_active_segment();
  tl::unexpected<Error> leave_unfinished(UpdateNumber first, Error error);
  void note_failure(const Error& error);
  Result<> leave_failed_segment();
  Result<> blank_moved(UpdateNumber segment, UpdateNumber moved_from);
  Result<> go_on_after_failure();
  struct Place;
  Result<std::optional<Place>> find_frame(UpdateNumber number, const FrameLocation& location);
  void switch_to(std::shared_ptr<os::File> file, UpdateNumber first, std::uint64_t segment_bytes,
                 std::uint64_t offset);

  os::Directory& directory_;
  SharedTail& tail_;
  GroupId group_;
  const std::uint64_t segment_bytes_;

  std::mutex file_mutex_;  // guards active_ between appending and syncing threads
  std::shared_ptr<os::File> active_;
  std::uint64_t active_generation_ = 0;

  std::uint64_t partial_bytes_ = 0;       // of a received update whose last part is not here yet
  std::uint64_t partial_generation_ = 0;  // of the tail, when its first part was written
};

/// What a scan of the journal's end found. A torn tail is a state, not an error.
struct RecoveredTail {
  UpdateNumber made;  // 0: empty journal
  UpdateNumber segment_first;
  std::uint64_t segment_bytes = 0;
  std::uint64_t offset = 0;
  ChainHash chain;
  Epoch epoch;        // of the last update
  bool torn = false;  // something was cut behind the last whole update
};

/// Reads the last segment to its end, cuts and zeroes a torn tail, syncs. An empty journal is at
/// number 0 with chain_before_all.
///
/// Within a boot only the last update can be torn: an intact frame behind a damaged one is damage,
/// kCorrupt, and nothing is changed. After a reboot (`rebooted`: this node) any subset of what was
/// not synced may be there: it is damage only where a later frame shows that the bad one had been
/// durable; else the tail is cut at the bad one. What was cut had been promised to nobody.
Result<RecoveredTail> recover_tail(os::Directory& directory, const GroupId& group,
                                   std::optional<NodeId> rebooted = std::nullopt);

}  // namespace hotbackup::journal
