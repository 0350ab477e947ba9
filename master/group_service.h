// SPDX-License-Identifier: Apache-2.0
// One group of which this node is master: its sessions, its waker, its housekeeping.
#pragma once

#include <list>
#include <memory>

#include "common/retention/archiver.h"
#include "common/retention/journal_keeper.h"
#include "common/retention/save_schedule.h"
#include "common/service/server.h"
#include "master/environment_watch.h"
#include "master/peer_caller.h"
#include "master/slot_resolver.h"
#include "master/waker.h"

namespace hotbackup::master {

/// Lives on the server's executor. Owns the group's handle and holds the server's lock on it.
class GroupService {
 public:
  /// kNotFound while the group has not been made here, kFenced when this node is not its master,
  /// kBusy when another process serves it. May block (a control file that is rebuilt).
  static Result<std::unique_ptr<GroupService>> open(asio::any_io_executor executor,
                                                    const service::Node& node,
                                                    const config::Group& configuration);
  ~GroupService();

  /// Until the group is no longer what it was (another role, made anew), or kCancelled.
  asio::awaitable<Result<>> run();

 private:
  GroupService(asio::any_io_executor executor, const service::Node& node,
               const config::Group& configuration, std::unique_ptr<control::Group> group);
  void on_published_moved();
  asio::awaitable<void> call_peers_when_level();
  asio::awaitable<void> keep_house();
  asio::awaitable<void> watch_role();
  Result<> look_after();
  void note_sync_failures();
  asio::awaitable<void> sync_what_nobody_syncs();
  asio::awaitable<void> archive();
  asio::awaitable<void> make_saves();
  asio::awaitable<void> run_tests();
  bool still_serving() const;

  const service::Node& node_;
  const config::Group& configuration_;
  const std::unique_ptr<control::Group> group_;
  const std::uint64_t control_inode_;
  net::Worker disk_;
  net::Worker housekeeper_;
  net::Worker archive_disk_;
  retention::JournalKeeper keeper_;     // housekeeper
  std::vector<std::string> forgotten_;  // by the last look_after()
  retention::Archiver archiver_;
  net::Worker saves_disk_;
  retention::SaveSchedule saves_;
  const GroupContext context_;
  std::list<PeerCaller> callers_;
  net::Signal unsynced_;
  net::Signal pause_;
  // The housekeeper's.
  EnvironmentWatch watch_;
  SlotResolver slots_;
  std::uint32_t sync_failures_ = 0;
  std::optional<std::chrono::steady_clock::time_point> last_failure_;
};

}  // namespace hotbackup::master
