// SPDX-License-Identifier: Apache-2.0
// One group of which this node is slave: its journal, its applier, and the session that feeds them.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "common/config/configuration.h"
#include "common/control/group.h"
#include "common/net/task_group.h"
#include "common/net/worker.h"
#include "common/retention/archiver.h"
#include "common/retention/journal_keeper.h"
#include "common/retention/save_schedule.h"
#include "common/service/server.h"
#include "slave/applier.h"
#include "slave/copies.h"
#include "slave/receiver_machine.h"
#include "slave/rejoiner.h"
#include "slave/seeder.h"

namespace hotbackup::slave {

class Session;

/// Why a caller is refused: what it is told, and what it is here.
struct Refusal {
  wire::RefuseReason reason = wire::RefuseReason::kOther;
  Error error;
  Epoch epoch = {};  // of kOldEpoch
  std::string master = {};
};

/// Whether this node follows the caller's epoch: a newer one is noted before it is answered, and
/// fences a master; an older one is refused with what is known here.
std::optional<Refusal> hear_caller(control::Group& group, const config::Group& configuration,
                                   const wire::Hello& hello);

/// Lives on the server's executor; the disk's side of it on its journal thread. Owns the group's
/// handle and holds the server's lock on it.
class GroupService {
 public:
  /// kNotFound while the group has not been made here, kFenced when this node is not its slave,
  /// kBusy when another process serves it. May block.
  static Result<std::unique_ptr<GroupService>> open(asio::any_io_executor executor,
                                                    const service::Node& node,
                                                    const config::Group& configuration);
  ~GroupService();

  /// Until the group is no longer what it was (another role, made anew), or kCancelled. No session
  /// is left when it ends.
  asio::awaitable<Result<>> run();

  const config::Group& configuration() const { return configuration_; }
  const service::Node& node() const { return node_; }
  control::Group& group() { return *group_; }

  /// The caller's hello was read: it becomes the group's session, in place of an older one, which
  /// has ended when this returns. On success the caller says leave() when it ends.
  asio::awaitable<tl::expected<void, Refusal>> admit(Session& session, const wire::Hello& hello);
  void leave(Session& session);

  /// What this journal holds for sure: synced, and free of a half received update.
  asio::awaitable<Result<Position>> position();
  /// The master's verdict was to go on from here: a fenced node is its slave again.
  void note_streaming();
  UpdateNumber applied() const { return UpdateNumber(group_->layout().applied.load()); }

  /// Does what a session received, in order, on the journal thread. After success of frames they
  /// are synced.
  asio::awaitable<Result<>> perform(std::vector<Work> work);
  /// Which of these positions this journal has too.
  asio::awaitable<Result<wire::Agree>> agree(std::vector<Position> positions);
  /// Everything after the common position is kept and given up: the first thing to ask for.
  /// Nothing: it is done, and the journal ends there.
  asio::awaitable<Result<std::optional<wire::Fetch>>> begin_rejoin(Position common,
                                                                   std::string master);
  /// One answer is complete: the next thing to ask for, as above.
  asio::awaitable<Result<std::optional<wire::Fetch>>> answered(Position at);
  /// Why a link has ended, where it was the master's verdict: an incident, or where history is not
  /// kept any more what the setting `rejoin` says.
  asio::awaitable<void> heard(Error why, std::string master);
  /// Undoes an unfinished seed or rejoin.
  asio::awaitable<void> abandon_seed();

 private:
  GroupService(asio::any_io_executor executor, const service::Node& node,
               const config::Group& configuration, std::unique_ptr<control::Group> group);
  std::optional<Refusal> check_caller(const wire::Hello& hello);
  std::optional<Refusal> compare_rules(const wire::Hello& hello);
  asio::awaitable<void> keep_house();
  asio::awaitable<void> watch_role();
  asio::awaitable<void> watch_way_home();
  asio::awaitable<Result<>> settle();
  asio::awaitable<void> tell_of_demotion();
  asio::awaitable<void> archive();
  asio::awaitable<void> make_saves();
  bool still_serving() const;
  void note_disk(const Error* error);
  void clear_old_failure();

  // On the journal thread.
  Result<> start_applier();
  Result<> mend_applier();
  Result<std::optional<wire::Fetch>> go_on_rejoining();
  Result<> begin_from_nothing(const std::string& master);
  Result<> settle_copies();
  Result<> perform_now(std::vector<Work>& work);
  Result<> append_frames(const std::vector<Work>& work);

  const asio::any_io_executor executor_;
  const service::Node& node_;
  const config::Group& configuration_;
  const std::unique_ptr<control::Group> group_;
  const std::uint64_t control_inode_;
  retention::JournalKeeper keeper_;  // housekeeper
  net::Worker archive_disk_;
  retention::Archiver archiver_;
  net::Worker saves_disk_;
  retention::SaveSchedule saves_;
  Copies copies_;
  Session* session_ = nullptr;
  bool replacing_ = false;  // a caller waits for the older session's end
  bool closing_ = false;
  bool verdict_shown_ = true;        // perhaps an incident that a link which streams clears
  bool settled_ = false;             // the copies are the applier's
  bool disk_full_ = false;           // said so
  std::uint32_t failures_seen_ = 0;  // of the tail
  std::optional<std::chrono::steady_clock::time_point> failed_at_;  // the journal's disk, last
  net::Signal session_left_;
  std::shared_ptr<GroupService*> self_;  // what the applier's thread posts through

  bool applier_due_ = false;            // it could not be started; journal thread
  std::unique_ptr<Seeder> seeder_;      // journal thread
  std::unique_ptr<Rejoiner> rejoiner_;  // journal thread
  std::unique_ptr<Applier> applier_;
  net::Worker journal_worker_;
  net::Worker housekeeper_;
};

}  // namespace hotbackup::slave
