// SPDX-License-Identifier: Apache-2.0
#include "master/group_service.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <asio/this_coro.hpp>

#include "common/control/retention.h"
#include "common/journal/segment.h"
#include "common/service/waiting_rules.h"
#include "master/loss_limit.h"
#include "master/slot_resolver.h"

namespace hotbackup::master {
namespace {

using Server = control::Group::Server;

std::uint64_t control_inode(const std::string& directory) {
  struct stat status {};
  return ::stat((directory + "/control").c_str(), &status) == 0 ? status.st_ino : 0;
}

Result<> tidy_journal(control::Group& group, const config::Group& configuration) {
  HOTBACKUP_TRY(group.keep_peer_numbers());
  HOTBACKUP_TRY(resolve_dead_slots(group));
  HOTBACKUP_TRY(journal::prepare_spare(group.journal_directory(), group.layout().segment_bytes));
  // What every peer has journaled; a peer never heard since this machine started keeps everything.
  UpdateNumber needless = group.published();
  for (const std::string& name : configuration.peers) {
    const control::PeerEntry* peer = group.peer(name);
    needless = std::min(needless, UpdateNumber(peer == nullptr ? 0 : peer->journaled.load()));
  }
  return control::retire_segments(group, needless, configuration.keep_journal);
}

}  // namespace

Result<std::unique_ptr<GroupService>> GroupService::open(asio::any_io_executor executor,
                                                         const service::Node& node,
                                                         const config::Group& configuration) {
  const std::string directory = node.configuration.node.state + "/groups/" + configuration.name;
  HOTBACKUP_ASSIGN(auto group, control::Group::open(directory));
  if (group->role() != control::Role::kMaster)
    return fail(ErrorCode::kFenced, "this node is not master of " + configuration.name);
  HOTBACKUP_TRY(group->hold_server(Server::kMaster));
  HOTBACKUP_TRY(group->set_loss_limit(loss_limit_of(configuration), configuration.peers));
  return std::unique_ptr<GroupService>(
      new GroupService(std::move(executor), node, configuration, std::move(group)));
}

GroupService::GroupService(asio::any_io_executor executor, const service::Node& node,
                           const config::Group& configuration,
                           std::unique_ptr<control::Group> group)
    : node_(node),
      configuration_(configuration),
      group_(std::move(group)),
      control_inode_(control_inode(group_->directory())),
      disk_("journal"),
      housekeeper_("housekeeping"),
      context_{executor, *group_, configuration, node.configuration.node.name, node.id, disk_},
      unsynced_(executor),
      pause_(executor) {
  for (const std::string& name : configuration_.peers) {
    const config::Peer* peer = config::find_peer(node_.configuration, name);
    control::PeerEntry* entry = group_->peer(name);
    if (peer != nullptr && entry != nullptr) callers_.emplace_back(context_, *peer, *entry);
  }
}

GroupService::~GroupService() {
  for (const std::string& name : configuration_.peers)
    if (control::PeerEntry* entry = group_->peer(name))
      group_->set_link(*entry, control::LinkState::kStopped);
  group_->release_server(Server::kMaster);
}

asio::awaitable<Result<>> GroupService::run() {
  spdlog::info("{}: serving as master, {} updates so far", configuration_.name,
               human_count(group_->made().value));
  service::warn_of_waiting_rules(*group_, configuration_);
  net::TaskGroup tasks(context_.executor, net::TaskGroup::End::kAllTogether);
  auto moved = [this] { on_published_moved(); };
  const Waker waker(*group_, context_.executor, moved);
  for (PeerCaller& caller : callers_) tasks.spawn(caller.run());
  tasks.spawn(keep_house());
  tasks.spawn(sync_what_nobody_syncs());
  co_await asio::this_coro::throw_if_cancelled(false);
  Result<> ended = co_await tasks.join();
  co_return ended;
}

void GroupService::on_published_moved() {
  if (group_->decided() > group_->synced()) unsynced_.notify();
  for (PeerCaller& caller : callers_) caller.published_moved();
}

// A program that opened its environment with MDB_NOSYNC does not wait for the journal; its updates
// leave this machine once they are durable here (rule R2), and that is seen to here.
asio::awaitable<void> GroupService::sync_what_nobody_syncs() {
  while (true) {
    co_await unsynced_.wait();
    const UpdateNumber decided = group_->decided();
    if (decided <= group_->synced()) continue;
    control::Group& group = *group_;
    auto sync = [&group, decided] { return group.journal().sync_through(decided); };
    const auto synced = co_await disk_.run(sync);
    if (synced) {
      group_->incidents().clear("HB-journal-sync-failed");
      on_published_moved();
      continue;
    }
    group_->incidents().raise("HB-journal-sync-failed", "", synced.error().text());
    spdlog::error("{}: {}", configuration_.name, synced.error().text());
    co_await pause_.wait_for(configuration_.check_period);
  }
}

asio::awaitable<void> GroupService::keep_house() {
  net::Signal never(context_.executor);
  std::string said;
  control::ServerEntry& entry = group_->layout().servers[static_cast<int>(Server::kMaster)];
  while (still_serving()) {
    entry.alive_ns.store(wall_now().time_since_epoch().count());
    control::Group& group = *group_;
    const config::Group& configuration = configuration_;
    auto tidy = [&group, &configuration] { return tidy_journal(group, configuration); };
    const auto tidied = co_await housekeeper_.run(tidy);
    const std::string problem = tidied ? "" : tidied.error().text();
    if (!problem.empty() && problem != said)
      spdlog::warn("{}: tidying the journal: {}", configuration_.name, problem);
    said = problem;
    co_await never.wait_for(configuration_.check_period);
    // After the pause: at the start slaves are given the time to call.
    watch_loss_limit(*group_);
  }
  spdlog::info("{}: no longer served as master", configuration_.name);
}

bool GroupService::still_serving() const {
  return group_->role() == control::Role::kMaster &&
         control_inode(group_->directory()) == control_inode_;
}

}  // namespace hotbackup::master
