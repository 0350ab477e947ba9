// SPDX-License-Identifier: Apache-2.0
#include "master/cut.h"

#include <sys/stat.h>

#include <thread>

#include "common/recovery/baseline.h"

namespace hotbackup::master {
namespace {

constexpr std::chrono::milliseconds kSlotLook{1};

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
// written without capture gets a new baseline: what this snapshot shows is what copies will have.
Result<> CutEnvironment::check(control::Group& group, os::SharedLock& lock) {
  control::EnvironmentEntry& entry = *group.environment(number);
  const TxnId last = snapshot->id();
  if (environment.info().last_txnid > last) {
    const std::string text = "environment " + std::string(entry.name) +
                             " is written without LMDB's locks: no snapshot of it can be trusted";
    group.incidents().raise("HB-nolock-writer", entry.name, text);
    return fail(ErrorCode::kBusy, text);
  }
  if (entry.state.load() == 0) return {};
  return recovery::append_baseline(group, entry, lock, recovery::describe(entry, environment.get()),
                                   last);
}

Result<Cut> Cut::take(control::Group& group, std::chrono::milliseconds wait) {
  Cut cut;
  const auto deadline = std::chrono::steady_clock::now() + wait;
  for (bool taken = false; !taken;) {
    HOTBACKUP_TRY(cut.open_all(group));
    HOTBACKUP_ASSIGN(taken, cut.begin_all(group, deadline));
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

}  // namespace hotbackup::master
