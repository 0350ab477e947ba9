// SPDX-License-Identifier: Apache-2.0
#include "master/group_service.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <asio/this_coro.hpp>
#include <cstring>
#include <utility>

#include "common/journal/spills.h"
#include "common/net/child_process.h"
#include "common/os/process.h"
#include "common/recovery/environment_recovery.h"
#include "common/roles/compare_child.h"
#include "common/service/refused_programs.h"
#include "common/service/waiting_rules.h"
#include "master/joined.h"
#include "master/loss_limit.h"

namespace hotbackup::master {
namespace {

using Server = control::Group::Server;

constexpr char kRecoveryFailed[] = "HB-recovery-failed";
constexpr char kSyncFailed[] = "HB-journal-sync-failed";
constexpr std::chrono::minutes kFailureShown{10};  // after the last one
constexpr std::chrono::minutes kTestLimit{2};

std::string in_shell(const std::string& word) {
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::uint64_t control_inode(const std::string& directory) {
  struct stat status {};
  return ::stat((directory + "/control").c_str(), &status) == 0 ? status.st_ino : 0;
}

/// After a reboot the control file knows nothing of the slaves, and their claims do.
Result<> remember_slaves(control::Group& group) {
  HOTBACKUP_ASSIGN(const auto record, retention::read_record(group));
  for (const retention::Claim& claim : record.claims) {
    control::PeerEntry* entry = group.peer(claim.peer);
    if (entry == nullptr || claim.at.number.value == 0) continue;
    entry->seeded.store(1);
    if (entry->journaled.load() == 0 && claim.at.number <= group.published())
      entry->journaled.store(claim.at.number.value);
  }
  return {};
}

bool recovery_due(control::Group& group) {
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n)
    if (const auto* entry = group.environment(EnvironmentNumber(n)))
      if (entry->recovery_due.load() != 0) return true;
  return false;
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
  const std::chrono::milliseconds off(0);
  HOTBACKUP_TRY(
      group->set_waits(configuration.boot_wait.value_or(off), configuration.lease.value_or(off)));
  if (!group->shares_pid_namespace())
    return fail(ErrorCode::kRefused, "group " + configuration.name +
                                         " is used in another pid namespace; run the server there");
  HOTBACKUP_TRY(remember_slaves(*group));
  std::unique_ptr<GroupService> service(
      new GroupService(std::move(executor), node, configuration, std::move(group)));
  HOTBACKUP_TRY(service->keeper_.publish_limit());
  return service;
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
      archive_disk_("archive"),
      keeper_(*group_, retention::rules_of(configuration, *group_)),
      archiver_(executor, *group_, configuration, archive_disk_),
      saves_disk_("saves"),
      saves_(executor, *group_, configuration, node.configuration.source, saves_disk_),
      context_{executor, *group_, configuration, node.configuration.node.name,
               node.id,  disk_,   node.key},
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
  tasks.spawn(keep_house());
  tasks.spawn(watch_role());
  tasks.spawn(call_peers_when_level());
  tasks.spawn(sync_what_nobody_syncs());
  tasks.spawn(archive());
  tasks.spawn(make_saves());
  tasks.spawn(run_tests());
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
      on_published_moved();
      continue;
    }
    spdlog::error("{}: {}", configuration_.name, synced.error().text());
    co_await pause_.wait_for(configuration_.check_period);
  }
}

// What a power loss left is settled before anything is sent; until then the last update of an
// environment that is due holds back the published number.
asio::awaitable<void> GroupService::call_peers_when_level() {
  control::Group& group = *group_;
  const std::string& name = configuration_.name;
  auto report = [&name](const control::EnvironmentEntry& entry,
                        const recovery::Recovered& recovered) {
    spdlog::info("{}: environment {}: {}", name, entry.name, recovered.text);
  };
  auto recover = [&group, report] { return recovery::recover_all(group, report); };
  Result<> level = co_await housekeeper_.run(recover);
  while (!level) {
    group.incidents().raise(kRecoveryFailed, "", level.error().text());
    spdlog::error("{}: {}", name, level.error().text());
    co_await pause_.wait_for(configuration_.check_period);
    level = co_await housekeeper_.run(recover);
  }
  group.incidents().clear(kRecoveryFailed);
  net::TaskGroup tasks(context_.executor, net::TaskGroup::End::kAllTogether);
  for (PeerCaller& caller : callers_) tasks.spawn(caller.run());
  on_published_moved();
  co_await asio::this_coro::throw_if_cancelled(false);
  (void)co_await tasks.join();
}

// A word in shared memory, asked often: the other node's applications wait for what follows.
asio::awaitable<void> GroupService::watch_role() {
  net::Signal never(context_.executor);
  while (group_->role() == control::Role::kMaster) co_await never.wait_for(service::kRolePeriod);
  spdlog::info("{}: no longer served as master", configuration_.name);
}

Result<> GroupService::look_after() {
  control::Group& group = *group_;
  if (const auto& roles = group.layout().roles;
      roles.unconfirmed.load() != 0 && roles.gate_until_ns.load() <= os::boottime_ns())
    group.incidents().raise("HB-boot-unconfirmed", "",
                            "no peer has confirmed since the boot that " +
                                std::string(group.layout().node_name) +
                                " is still master; writes were let through after boot_wait");
  slots_.look(group);
  note_sync_failures();
  service::forget_refused_programs(group);
  HOTBACKUP_TRY(journal::remove_left_spills(group.journal_directory()));
  HOTBACKUP_ASSIGN(auto released, take_in_what_appeared(group, configuration_));
  forgotten_.insert(forgotten_.end(), released.begin(), released.end());
  HOTBACKUP_TRY(watch_.look(group));
  HOTBACKUP_TRY(group.keep_peer_numbers());
  if (recovery_due(group)) return {};  // it reads the journal that is here
  HOTBACKUP_ASSIGN(released, keeper_.tidy());
  forgotten_.insert(forgotten_.end(), released.begin(), released.end());
  return {};
}

// Capture and journal go on by themselves; a person hears of the disk.
void GroupService::note_sync_failures() {
  const journal::SharedTail& tail = group_->layout().tail;
  const auto now = std::chrono::steady_clock::now();
  if (const std::uint32_t failures = tail.failures.load(); failures != sync_failures_) {
    sync_failures_ = failures;
    last_failure_ = now;
    group_->incidents().raise(kSyncFailed, "",
                              std::string("syncing the journal failed (") +
                                  std::strerror(static_cast<int>(tail.failure_error.load())) +
                                  "), " + std::to_string(failures) +
                                  " times since this machine started");
  } else if (last_failure_ && now - *last_failure_ > kFailureShown) {
    last_failure_.reset();
    group_->incidents().clear(kSyncFailed);
  }
}

// It ends at once without a command, which is no reason for the others to end.
asio::awaitable<void> GroupService::archive() {
  co_await archiver_.run();
  net::Signal never(context_.executor);
  co_await never.wait();
}

// By this node's own configuration, whatever its role.
asio::awaitable<void> GroupService::make_saves() {
  const auto program = roles::administration_program();
  co_await saves_.run(program);
  net::Signal never(context_.executor);
  co_await never.wait();
}

// By the same command that a person types: it writes through the capture library and asks the
// slaves, raises and clears the incidents, and keeps the round trips.
asio::awaitable<void> GroupService::run_tests() {
  net::Signal never(context_.executor);
  if (!configuration_.test_period) co_await never.wait();
  std::string said;
  while (true) {
    co_await never.wait_for(*configuration_.test_period);
    const auto program = roles::administration_program();
    std::string problem = program ? "" : program.error().text();
    if (program) {
      net::Command test;
      test.shell = "exec " + in_shell(*program) + " --config " +
                   in_shell(node_.configuration.source) + " test " + configuration_.name +
                   " --scheduled";
      test.limit = kTestLimit;
      const Result<> done = co_await net::run_command(std::move(test));
      if (!done) problem = done.error().text();
    }
    if (!problem.empty() && problem != said)
      spdlog::warn("{}: test update: {}", configuration_.name, problem);
    said = problem;
  }
}

asio::awaitable<void> GroupService::keep_house() {
  net::Signal never(context_.executor);
  std::string said;
  control::ServerEntry& entry = group_->layout().servers[static_cast<int>(Server::kMaster)];
  while (still_serving()) {
    entry.alive_ns.store(wall_now().time_since_epoch().count());
    auto tidy = [this] { return look_after(); };
    const auto tidied = co_await housekeeper_.run(tidy);
    for (const std::string& name : std::exchange(forgotten_, {}))
      for (PeerCaller& caller : callers_) caller.forgotten(name);
    const std::string problem = tidied ? "" : tidied.error().text();
    if (!problem.empty() && problem != said)
      spdlog::warn("{}: tidying the journal: {}", configuration_.name, problem);
    said = problem;
    co_await never.wait_for(configuration_.check_period);
    // After the pause: at the start slaves are given the time to call.
    watch_loss_limit(*group_);
  }
}

bool GroupService::still_serving() const {
  return group_->role() == control::Role::kMaster &&
         control_inode(group_->directory()) == control_inode_;
}

}  // namespace hotbackup::master
