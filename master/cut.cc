// SPDX-License-Identifier: Apache-2.0
#include "master/cut.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <thread>

#include "common/journal/reader.h"
#include "common/os/process.h"
#include "common/os/unique_fd.h"
#include "common/recovery/baseline.h"

namespace hotbackup::master {
namespace {

constexpr std::chrono::milliseconds kSlotLook{1};
constexpr std::chrono::milliseconds kHoldLook{20};
constexpr std::chrono::seconds kHoldStep{5};

/// An environment with an open slot, if there is one.
const control::EnvironmentEntry* open_slot(control::Group& group) {
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n) {
    const auto* entry = group.environment(EnvironmentNumber(n));
    if (entry != nullptr && entry->slot.number.load() != 0) return entry;
  }
  return nullptr;
}

}  // namespace

// A writer may have grown the map since the environment was opened.
Result<> CutEnvironment::begin() {
  auto txn = lmdb::Transaction::begin(environment, /*read_only=*/true);
  if (!txn && txn.error().os_error() == MDB_MAP_RESIZED) {
    HOTBACKUP_TRY(environment.set_map_bytes(0));
    txn = lmdb::Transaction::begin(environment, /*read_only=*/true);
  }
  if (!txn) return fail(std::move(txn).error());
  snapshot.emplace(std::move(*txn));
  return {};
}

// A writer without locks makes pages of this snapshot change under it. An environment that was
// written without capture, or has no baseline yet, gets one: what this snapshot shows is what
// copies will have, and whoever writes without capture from here on is noticed.
Result<> CutEnvironment::check(control::Group& group, os::SharedLock& lock) {
  control::EnvironmentEntry& entry = *group.environment(number);
  const TxnId last = snapshot->id();
  if (environment.info().last_txnid > last) {
    const std::string text = "environment " + std::string(entry.name) +
                             " is written without LMDB's locks: no snapshot of it can be trusted";
    group.incidents().raise("HB-nolock-writer", entry.name, text);
    return fail(ErrorCode::kBusy, text);
  }
  if (entry.state.load() == 0 && entry.baselined.load() == 1) return {};
  return recovery::append_baseline(group, entry, lock, recovery::describe(entry, environment.get()),
                                   last);
}

Result<Cut> Cut::take(control::Group& group, std::chrono::milliseconds wait) {
  Cut cut;
  const auto deadline = std::chrono::steady_clock::now() + wait;
  for (bool taken = false; !taken;) {
    HOTBACKUP_TRY(cut.open_all(group));
    HOTBACKUP_ASSIGN(taken, group.role() == control::Role::kMaster
                                ? cut.begin_all(group, deadline)
                                : cut.begin_copies(group, deadline));
  }
  HOTBACKUP_TRY(group.journal().sync_through(cut.position.number));
  return cut;
}

/// Opens what has joined and is not open yet.
Result<> Cut::open_all(control::Group& group) {
  for (; joined_ < group.environment_count(); ++joined_) {
    const auto* entry = group.environment(EnvironmentNumber(joined_ + 1));
    if (entry == nullptr) continue;
    const bool subdirectory = entry->subdirectory != 0;
    struct stat status {};
    if (::stat(lmdb::data_file(entry->path, subdirectory).c_str(), &status) != 0) {
      if (errno == ENOENT) continue;
      return fail_errno("looking at " + std::string(entry->path));
    }
    if (status.st_size == 0) continue;
    lmdb::OpenOptions options;
    options.path = entry->path;
    options.subdirectory = subdirectory;
    options.read_only = true;
    HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
    bodies.push_back(recovery::describe(*entry, environment.get()).body);
    environments.push_back(
        std::make_unique<CutEnvironment>(bodies.back().number, std::move(environment)));
    HOTBACKUP_ASSIGN(environments.back()->rules, group.keep_local(entry->configured));
  }
  return {};
}

/// False when an environment has joined in the meantime.
Result<bool> Cut::begin_all(control::Group& group, std::chrono::steady_clock::time_point deadline) {
  HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
  if (group.environment_count() != joined_) return false;
  // Nobody opens a slot without the lock; those that are open clear by themselves.
  while (const auto* entry = open_slot(group)) {
    if (std::chrono::steady_clock::now() > deadline)
      return fail(ErrorCode::kBusy, "a commit in environment " + std::string(entry->name) +
                                        " by process " + std::to_string(entry->slot.pid.load()) +
                                        " does not finish");
    std::this_thread::sleep_for(kSlotLook);
  }
  for (const auto& cut : environments) {
    HOTBACKUP_TRY(cut->begin());
    HOTBACKUP_TRY(cut->check(group, lock));
  }
  const journal::SharedTail& tail = group.layout().tail;
  position = {tail.epoch, UpdateNumber(tail.made.load()), tail.chain};
  return true;
}

namespace {

using std::chrono::steady_clock;

/// A slave's applier stands still while it lives: all copies show one number. Without a server they
/// do if it was stopped in good order.
class Standstill {
 public:
  explicit Standstill(control::Group& group) : group_(group) {}
  ~Standstill() {
    if (!lock_) return;
    group_.layout().hold.until_ns.store(0);
    os::futex_notify(group_.layout().apply_wake);
  }
  Standstill(const Standstill&) = delete;
  Standstill& operator=(const Standstill&) = delete;

  Result<> begin(steady_clock::time_point deadline) {
    control::Layout& layout = group_.layout();
    const std::string name(layout.group_name);
    if (!group_.server_alive(control::Group::Server::kSlave)) {
      if (layout.servers[1].stopped_ns.load() != 0) return {};
      return fail(ErrorCode::kBusy,
                  "the copies of " + name + " may lie between two updates: start hotbackup-slave");
    }
    const std::string path = group_.directory() + "/comparing.lock";
    os::UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
    if (!lock) return fail_errno("opening " + path);
    while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      if (steady_clock::now() > deadline)
        return fail(ErrorCode::kBusy, "a comparison of " + name + " holds the copies");
      std::this_thread::sleep_for(kHoldLook);
    }
    lock_ = std::move(lock);
    layout.hold.number.store(0);
    renew();
    const std::uint32_t request = layout.hold.request.fetch_add(1) + 1;
    while (layout.hold.answered.load() != request) {
      if (steady_clock::now() > deadline)
        return fail(ErrorCode::kBusy, "the applier of " + name +
                                          " does not stand still: see hotbackup status " + name);
      const std::uint32_t seen = layout.acknowledged_wake.load();
      renew();
      os::futex_notify(layout.apply_wake);
      if (layout.hold.answered.load() != request)
        os::futex_wait(layout.acknowledged_wake, seen, kHoldLook);
    }
    return {};
  }
  /// It stood there all the while: nothing but its own time lets it go on.
  bool held() const { return !lock_ || group_.layout().hold.until_ns.load() > os::boottime_ns(); }

 private:
  void renew() {
    group_.layout().hold.until_ns.store(os::boottime_ns() +
                                        std::chrono::nanoseconds(kHoldStep).count());
  }
  control::Group& group_;
  os::UniqueFd lock_;
};

}  // namespace

/// The same on a slave. What its journal holds beyond `applied` is not in the copies yet.
Result<bool> Cut::begin_copies(control::Group& group, steady_clock::time_point deadline) {
  control::Layout& layout = group.layout();
  Standstill standstill(group);
  HOTBACKUP_TRY(standstill.begin(deadline));
  if (group.environment_count() != joined_) return false;
  for (const auto& cut : environments) HOTBACKUP_TRY(cut->begin());
  position.number = UpdateNumber(layout.applied.load());
  if (!standstill.held()) return fail(ErrorCode::kBusy, "the snapshots took too long to begin");
  {
    HOTBACKUP_ASSIGN(const auto lock, group.journal().lock());
    const journal::SharedTail& tail = layout.tail;
    position.epoch = tail.epoch;
    position.chain = tail.chain;
    if (tail.made.load() == position.number.value) return true;
  }
  HOTBACKUP_ASSIGN(position,
                   journal::position_at(group.journal_directory(), group.id(), position.number));
  return true;
}

}  // namespace hotbackup::master
