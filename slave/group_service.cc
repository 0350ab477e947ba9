// SPDX-License-Identifier: Apache-2.0
#include "slave/group_service.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <asio/post.hpp>
#include <asio/this_coro.hpp>
#include <cstring>
#include <utility>

#include "common/journal/reader.h"
#include "common/journal/segment.h"
#include "common/roles/compare_child.h"
#include "common/roles/peers.h"
#include "common/service/refused_programs.h"
#include "common/service/waiting_rules.h"
#include "slave/applied_file.h"
#include "slave/session.h"
#include "slave/setaside.h"

namespace hotbackup::slave {
namespace {

using Server = control::Group::Server;

using control::ChangePhase;

constexpr char kDiskFull[] = "HB-disk-full";
constexpr char kSyncFailed[] = "HB-journal-sync-failed";
// A failure that was got over stays in sight this long.
constexpr std::chrono::minutes kFailureShown(1);
constexpr char kAtLimit[] = "HB-journal-limit";
constexpr char kHookFailed[] = "HB-hook-failed";
constexpr std::chrono::milliseconds kAskLimit{1000};

std::uint64_t control_inode(const std::string& directory) {
  struct stat status {};
  return ::stat((directory + "/control").c_str(), &status) == 0 ? status.st_ino : 0;
}

/// The phase of a command that changes this node's role, while it lives.
ChangePhase phase_of(control::Group& group) {
  const auto phase = static_cast<ChangePhase>(group.layout().roles.change_phase.load());
  if (phase == ChangePhase::kNone || !group.server_alive(Server::kChange))
    return ChangePhase::kNone;
  return phase;
}

bool is_served(control::Group& group) {
  const bool ours = group.role() == control::Role::kSlave || group.role() == control::Role::kFenced;
  return ours && phase_of(group) != ChangePhase::kLetGo;
}

tl::unexpected<Refusal> refusal(wire::RefuseReason reason, ErrorCode code, std::string text) {
  return tl::unexpected(Refusal{reason, Error(code, std::move(text))});
}

/// A flag that is up while it lives, also when the coroutine around it is cancelled.
class Raised {
 public:
  explicit Raised(bool& flag) : flag_(flag) { flag_ = true; }
  ~Raised() { flag_ = false; }
  Raised(const Raised&) = delete;
  Raised& operator=(const Raised&) = delete;

 private:
  bool& flag_;
};

// After a crash of this process `made` may be ahead of what is synced: a promise needs the sync. It
// may also be behind what lies there whole: taking the lock mends that, and only then is it known
// which update comes next. What an unfinished seed has put into the journal is no position either.
Result<Position> durable_position(control::Group& group) {
  group.journal().drop_partial();
  HOTBACKUP_TRY(Seeder::discard_unfinished(group));
  { HOTBACKUP_TRY(group.journal().lock()); }
  const UpdateNumber made = group.made();
  HOTBACKUP_TRY(group.journal().sync_through(made));
  return journal::position_at(group.journal_directory(), group.id(), made);
}

}  // namespace

Result<std::unique_ptr<GroupService>> GroupService::open(asio::any_io_executor executor,
                                                         const service::Node& node,
                                                         const config::Group& configuration) {
  const std::string directory = node.configuration.node.state + "/groups/" + configuration.name;
  HOTBACKUP_ASSIGN(auto group, control::Group::open(directory));
  if (!is_served(*group))
    return fail(ErrorCode::kFenced, "node " + node.configuration.node.name + " is not a slave of " +
                                        configuration.name);
  HOTBACKUP_TRY(group->hold_server(Server::kSlave));
  std::unique_ptr<GroupService> service(
      new GroupService(std::move(executor), node, configuration, std::move(group)));
  HOTBACKUP_TRY(service->keeper_.publish_limit());
  return service;
}

GroupService::GroupService(asio::any_io_executor executor, const service::Node& node,
                           const config::Group& configuration,
                           std::unique_ptr<control::Group> group)
    : executor_(executor),
      node_(node),
      configuration_(configuration),
      group_(std::move(group)),
      control_inode_(control_inode(group_->directory())),
      keeper_(*group_, retention::rules_of(configuration, *group_)),
      archive_disk_("archive"),
      archiver_(executor, *group_, configuration, archive_disk_),
      saves_disk_("saves"),
      saves_(executor, *group_, configuration, node.configuration.source, saves_disk_),
      copies_(*group_),
      session_left_(executor),
      self_(std::make_shared<GroupService*>(this)),
      journal_worker_("journal"),
      housekeeper_("housekeeping") {
  failures_seen_ = group_->layout().tail.failures.load();
  // By an earlier run.
  disk_full_ = group_->incidents().find(kDiskFull).has_value();
  if (group_->incidents().find(kSyncFailed)) failed_at_ = std::chrono::steady_clock::now();
  // From the applier's thread to the session, if one is there.
  auto on_applied = [executor, self = self_](UpdateNumber number) {
    asio::post(executor, [self, number] {
      if (*self != nullptr && (*self)->session_ != nullptr) (*self)->session_->applied(number);
    });
  };
  ApplierLimits limits;
  limits.check_period = configuration_.check_period;
  limits.paused_at_first = configuration_.apply == config::Apply::kPaused;
  limits.delay = configuration_.apply_delay;
  applier_ = std::make_unique<Applier>(*group_, copies_, on_applied, limits);
}

GroupService::~GroupService() {
  *self_ = nullptr;
  for (const std::string& name : configuration_.peers)
    if (control::PeerEntry* entry = group_->peer(name))
      group_->set_link(*entry, control::LinkState::kStopped);
  group_->release_server(Server::kSlave);
}

asio::awaitable<Result<>> GroupService::run() {
  spdlog::info("{}: serving as slave, {} updates so far", configuration_.name,
               human_count(group_->made().value));
  service::warn_of_waiting_rules(*group_, configuration_);
  for (const std::string& name : configuration_.peers)
    if (control::PeerEntry* entry = group_->peer(name))
      group_->set_link(*entry, control::LinkState::kWaitingForCall);
  net::TaskGroup tasks(executor_, net::TaskGroup::End::kAllTogether);
  tasks.spawn(keep_house());
  tasks.spawn(watch_role());
  tasks.spawn(watch_way_home());
  tasks.spawn(archive());
  tasks.spawn(make_saves());
  co_await asio::this_coro::throw_if_cancelled(false);
  Result<> ended = co_await tasks.join();
  co_await asio::this_coro::throw_if_cancelled(false);
  closing_ = true;
  net::Signal never(executor_);  // session_left_ may have a caller in admit() as its waiter
  while (session_ != nullptr || replacing_) {
    if (session_ != nullptr) session_->stop(Error(ErrorCode::kCancelled, "the server is stopping"));
    co_await never.wait_for(std::chrono::milliseconds(10));
  }
  auto stop = [this] {
    applier_->stop();
    return true;
  };
  co_await journal_worker_.run(stop);
  co_await asio::this_coro::throw_if_cancelled(true);
  co_return ended;
}

std::optional<Refusal> GroupService::check_caller(const wire::Hello& hello) {
  const std::string here = "group " + configuration_.name + " on " + node_.configuration.node.name;
  const auto& peers = configuration_.peers;
  if (std::find(peers.begin(), peers.end(), hello.node_name) == peers.end())
    return Refusal{wire::RefuseReason::kPeerUnknown,
                   Error(ErrorCode::kRefused, hello.node_name + " is not a peer of " + here)};
  if (hello.group_id.is_none())
    return Refusal{wire::RefuseReason::kWrongGroupId,
                   Error(ErrorCode::kRefused, hello.node_name + " sent no group id")};
  if (!group_->id().is_none())
    if (auto older = hear_caller(*group_, configuration_, hello)) return older;
  const std::string master(group_->layout().master_name);
  if (!master.empty() && !group_->id().is_none() && master != hello.node_name)
    return Refusal{
        wire::RefuseReason::kPeerUnknown,
        Error(ErrorCode::kRefused, here + " follows " + master + ", not " + hello.node_name)};
  if (auto adopted = group_->adopt_id(hello.group_id, hello.node_name); !adopted)
    return Refusal{adopted.error().code() == ErrorCode::kRefused ? wire::RefuseReason::kWrongGroupId
                                                                 : wire::RefuseReason::kNotReady,
                   adopted.error()};
  return compare_rules(hello);
}

// With different rules one side would overwrite what the other keeps, or wait for what never comes.
std::optional<Refusal> GroupService::compare_rules(const wire::Hello& hello) {
  const auto own = group_->keep_local();
  if (!own) return Refusal{wire::RefuseReason::kNotReady, own.error()};
  std::string text = update::explain_difference(hello.keep_local, hello.node_name, *own,
                                                node_.configuration.node.name);
  if (text.empty()) {
    group_->incidents().clear("HB-rules-differ", hello.node_name);
    return std::nullopt;
  }
  text += ": make keep_local equal and type hotbackup init " + configuration_.name +
          " again on both nodes";
  group_->incidents().raise("HB-rules-differ", hello.node_name, text);
  return Refusal{wire::RefuseReason::kRulesDiffer, Error(ErrorCode::kRefused, std::move(text))};
}

std::optional<Refusal> hear_caller(control::Group& group, const config::Group& configuration,
                                   const wire::Hello& hello) {
  const auto& peers = configuration.peers;
  if (hello.group_id != group.id() ||
      std::find(peers.begin(), peers.end(), hello.node_name) == peers.end())
    return std::nullopt;  // its word counts for nothing here
  using Heard = control::Group::Heard;
  const Epoch epoch = hello.published.epoch;
  const auto heard = group.hear_epoch(epoch, hello.node_name);
  if (!heard) return Refusal{wire::RefuseReason::kNotReady, heard.error()};
  if (*heard == Heard::kSame || *heard == Heard::kNewer) return std::nullopt;
  const Epoch known = group.known_epoch();
  const std::string master(group.layout().master_name);
  return Refusal{wire::RefuseReason::kOldEpoch,
                 Error(ErrorCode::kFenced, "group " + configuration.name + " is in epoch " +
                                               std::to_string(known.counter) + ", with master " +
                                               master + "; " + hello.node_name + " serves epoch " +
                                               std::to_string(epoch.counter)),
                 known, master};
}

asio::awaitable<tl::expected<void, Refusal>> GroupService::admit(Session& session,
                                                                 const wire::Hello& hello) {
  if (auto refused = check_caller(hello)) co_return tl::unexpected(std::move(*refused));
  if (!settled_ || phase_of(*group_) != ChangePhase::kNone)
    co_return refusal(wire::RefuseReason::kNotReady, ErrorCode::kBusy,
                      "the group's role here is being changed");
  if (replacing_ || closing_)
    co_return refusal(wire::RefuseReason::kNotReady, ErrorCode::kBusy,
                      "the group is busy with another call");
  // A master that calls again has lost its old link, whether or not this side has noticed.
  {
    const Raised replacing(replacing_);
    while (session_ != nullptr) {
      session_->stop(Error(ErrorCode::kDisconnected, hello.node_name + " has called again"));
      co_await session_left_.wait_for(std::chrono::seconds(1));
    }
  }
  if (closing_)
    co_return refusal(wire::RefuseReason::kNotReady, ErrorCode::kBusy, "the server is stopping");
  session_ = &session;
  co_return tl::expected<void, Refusal>();
}

void GroupService::leave(Session& session) {
  if (session_ != &session) return;
  session_ = nullptr;
  session_left_.notify();
}

asio::awaitable<Result<Position>> GroupService::position() {
  control::Group& group = *group_;
  auto look = [&group] { return durable_position(group); };
  Result<Position> position = co_await journal_worker_.run(look);
  if (!position && position.error().code() == ErrorCode::kCorrupt)
    group.incidents().raise("HB-journal-damaged", "", position.error().text());
  else
    note_disk(position ? nullptr : &position.error());
  co_return position;
}

asio::awaitable<Result<>> GroupService::perform(std::vector<Work> work) {
  auto job = [this, &work] { return perform_now(work); };
  Result<> done = co_await journal_worker_.run(job);
  note_disk(done ? nullptr : &done.error());
  co_return done;
}

// What the journal's disk does: full or failing while that lasts, and a failed sync that the
// journal got over in a new segment (rule R10) for a while longer.
void GroupService::note_disk(const Error* error) {
  control::IncidentTable incidents = group_->incidents();
  const journal::SharedTail& tail = group_->layout().tail;
  const std::uint32_t failures = tail.failures.load();
  if (error != nullptr && error->code() == ErrorCode::kNoSpace) {
    // Without an error of the disk it is our own limit.
    const bool at_limit = error->os_error() == 0;
    incidents.raise(at_limit ? kAtLimit : kDiskFull, "", error->text());
    disk_full_ = !at_limit;
  } else if (error == nullptr && std::exchange(disk_full_, false)) {
    incidents.clear(kDiskFull);
  }
  if (error != nullptr && error->code() == ErrorCode::kIo) {
    incidents.raise(kSyncFailed, "", error->text());
  } else if (failures != failures_seen_) {
    incidents.raise(kSyncFailed, "",
                    std::string("a sync of the journal failed (") +
                        std::strerror(static_cast<int>(tail.failure_error.load())) +
                        "); what was not durable is in a new segment");
  } else {
    return;
  }
  failures_seen_ = failures;
  failed_at_ = std::chrono::steady_clock::now();
}

void GroupService::clear_old_failure() {
  if (!failed_at_ || group_->layout().tail.failed.load() != 0 ||
      std::chrono::steady_clock::now() - *failed_at_ < kFailureShown)
    return;
  group_->incidents().clear(kSyncFailed);
  failed_at_.reset();
}

Result<> GroupService::perform_now(std::vector<Work>& work) {
  if (std::holds_alternative<CheckedFrames>(work.front())) return append_frames(work);
  if (const auto* begin = std::get_if<wire::SeedBegin>(&work.front())) {
    applier_->stop();
    seeder_ = std::make_unique<Seeder>(*group_, copies_);
    return seeder_->begin(begin->at, begin->environments, begin->over.number.value != 0);
  }
  if (rejoiner_ != nullptr) {
    for (const Work& item : work) {
      const auto& part = std::get<wire::SeedPart>(item);
      HOTBACKUP_TRY(rejoiner_->part(part.environment, part.body));
    }
    return {};
  }
  if (seeder_ == nullptr) return fail(ErrorCode::kProtocol, "a part of no seed");
  if (const auto* end = std::get_if<wire::SeedEnd>(&work.front())) {
    HOTBACKUP_TRY(seeder_->end(end->items));
    seeder_.reset();
    HOTBACKUP_TRY(forget_doubts(*group_));
    return start_applier();
  }
  for (const Work& item : work) {
    const auto& part = std::get<wire::SeedPart>(item);
    HOTBACKUP_TRY(seeder_->part(part.environment, part.body));
  }
  return {};
}

// One sync for all that waits; the applier starts while the answer is on its way.
Result<> GroupService::append_frames(const std::vector<Work>& work) {
  journal::Journal& journal = group_->journal();
  // The master goes on from where this journal ends: an unfinished rejoin was for nothing.
  HOTBACKUP_TRY(Rejoiner::call_off(*group_));
  {
    HOTBACKUP_ASSIGN(auto lock, journal.lock());
    for (const Work& item : work) {
      HOTBACKUP_TRY(for_each_frame(
          std::get<CheckedFrames>(item).frames,
          [&](const journal::FrameView& frame) { return journal.append_received(lock, frame); }));
    }
  }
  HOTBACKUP_TRY(journal.sync_through(std::get<CheckedFrames>(work.back()).through));
  applier_->wake();
  return {};
}

asio::awaitable<void> GroupService::abandon_seed() {
  auto undo = [this]() -> Result<> {
    group_->journal().drop_partial();
    if (seeder_ == nullptr && rejoiner_ == nullptr) return {};
    seeder_.reset();
    rejoiner_.reset();
    return start_applier();
  };
  const auto undone = co_await journal_worker_.run(undo);
  if (!undone) spdlog::error("{}: {}", configuration_.name, undone.error().text());
}

Result<> GroupService::start_applier() {
  auto started = applier_->start();
  applier_due_ = !started;
  if (!started)
    group_->incidents().raise("HB-applied-unknown", "", started.error().text());
  else
    group_->incidents().clear("HB-applied-unknown");
  return started;
}

// What stood in the way, a disk error say, may be gone.
Result<> GroupService::mend_applier() {
  const bool idle = seeder_ == nullptr && rejoiner_ == nullptr;
  return applier_due_ && idle ? start_applier() : Result<>();
}

// It ends at once without a command, which is no reason for the others to end.
asio::awaitable<void> GroupService::archive() {
  co_await archiver_.run();
  net::Signal never(executor_);
  co_await never.wait();
}

// By this node's own configuration, whatever its role.
asio::awaitable<void> GroupService::make_saves() {
  const auto program = roles::administration_program();
  co_await saves_.run(program);
  net::Signal never(executor_);
  co_await never.wait();
}

// A clean stop of the applier leaves nothing in the copies that is not durable.
Result<> GroupService::settle_copies() {
  if (seeder_ != nullptr || rejoiner_ != nullptr || !applier_->working()) return {};
  if (applier_->durable() == applier_->applied()) return {};
  applier_->stop();
  return start_applier();
}

// Nobody asked for it here: the command of a planned switch runs the hook itself.
asio::awaitable<void> GroupService::tell_of_demotion() {
  control::Group& group = *group_;
  if (group.role() != control::Role::kFenced) co_return;
  const roles::Here here{node_.configuration, configuration_, group, service::program_version()};
  const std::string master(group.layout().master_name);
  auto hook = [&here, &master] {
    return roles::run_hook(here, here.settings.on_demote, "fenced", here.group.known_epoch(),
                           master);
  };
  const Result<> ran = co_await housekeeper_.run(hook);
  if (ran) co_return group.incidents().clear(kHookFailed, "on_demote");
  group.incidents().raise(kHookFailed, "on_demote", "on_demote: " + ran.error().text());
  spdlog::error("{}: on_demote: {}", configuration_.name, ran.error().text());
}

// A node that was master has copies only when what it wrote last is settled. Until then nobody is
// answered.
asio::awaitable<Result<>> GroupService::settle() {
  control::Group& group = *group_;
  net::Signal never(executor_);
  while (group.wrote()) {
    auto work = [&group] { return settle_after_mastery(group); };
    const auto done = co_await journal_worker_.run(work);
    if (done) {
      co_await tell_of_demotion();
      break;
    }
    spdlog::error("{}: what was written as master: {}", configuration_.name, done.error().text());
    co_await never.wait_for(configuration_.check_period);
  }
  auto start = [this] { return start_applier(); };
  Result<> started = co_await journal_worker_.run(start);
  settled_ = true;
  co_return started;
}

// A command that changes this node's role: it waits for what is done here.
asio::awaitable<void> GroupService::watch_role() {
  control::RoleState& roles = group_->layout().roles;
  net::Signal never(executor_);
  while (is_served(*group_)) {
    co_await never.wait_for(service::kRolePeriod / 5);
    const std::uint32_t request = roles.change_request.load();
    if (roles.change_answered.load() == request || phase_of(*group_) == ChangePhase::kNone)
      continue;
    if (session_ != nullptr)
      session_->stop(Error(ErrorCode::kDisconnected, "the group's role here is being changed"));
    if (session_ != nullptr || replacing_) continue;
    roles.change_answered.store(request);
    group_->notify_acknowledged();
  }
  spdlog::info("{}: no longer served as slave", configuration_.name);
}

// What a switch back needs: this node dials its master as the master would be dialled then.
asio::awaitable<void> GroupService::watch_way_home() {
  net::Signal never(executor_);
  while (true) {
    control::Group& group = *group_;
    const std::string master(group.layout().master_name);
    control::PeerEntry* entry =
        master.empty() || session_ == nullptr ? nullptr : group.peer(master);
    if (entry != nullptr) {
      const roles::Here here{node_.configuration, configuration_, group,
                             service::program_version()};
      auto ask = [&here, &master] {
        auto link = roles::PeerLink::open(here, master, kAskLimit);
        return link && (*link)->ask({}, kAskLimit).has_value();
      };
      const bool reached = co_await housekeeper_.run(ask);
      entry->way_home.store(static_cast<std::uint32_t>(reached ? control::WayHome::kReaches
                                                               : control::WayHome::kDoesNot));
    }
    co_await never.wait_for(entry == nullptr ? configuration_.check_period
                                             : 5 * configuration_.check_period);
  }
}

void GroupService::note_streaming() {
  if (std::exchange(verdict_shown_, false))
    for (const char* code : {"HB-slave-ahead", "HB-rejoin-asks", "HB-rejoin-stopped"})
      group_->incidents().clear_all(code);
  if (group_->role() != control::Role::kFenced) return;
  if (const auto changed = group_->become_slave(); !changed)
    spdlog::error("{}: {}", configuration_.name, changed.error().text());
}

asio::awaitable<void> GroupService::keep_house() {
  const Result<> started = co_await settle();
  if (!started) spdlog::error("{}: {}", configuration_.name, started.error().text());
  net::Signal never(executor_);
  std::string said;
  control::ServerEntry& entry = group_->layout().servers[static_cast<int>(Server::kSlave)];
  while (still_serving()) {
    entry.alive_ns.store(wall_now().time_since_epoch().count());
    clear_old_failure();
    auto mend = [this] { return mend_applier(); };
    (void)co_await journal_worker_.run(mend);  // the incident says what fails
    auto tidy = [this] {
      service::forget_refused_programs(*group_);
      return keeper_.tidy();
    };
    const auto tidied = co_await housekeeper_.run(tidy);
    if (keeper_.wants_durable_copies()) {
      auto settle = [this] { return settle_copies(); };
      const auto settled = co_await journal_worker_.run(settle);
      if (!settled) spdlog::error("{}: {}", configuration_.name, settled.error().text());
    }
    const std::string problem = tidied ? "" : tidied.error().text();
    if (!problem.empty() && problem != said)
      spdlog::warn("{}: tidying the journal: {}", configuration_.name, problem);
    said = problem;
    co_await never.wait_for(configuration_.check_period);
  }
}

bool GroupService::still_serving() const {
  return is_served(*group_) && control_inode(group_->directory()) == control_inode_;
}

}  // namespace hotbackup::slave
