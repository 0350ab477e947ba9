// SPDX-License-Identifier: Apache-2.0
#include "master/slot_resolver.h"

#include <csignal>
#include <thread>

#include "common/lmdb/environment.h"
#include "common/os/process.h"

namespace hotbackup::master {
namespace {

constexpr char kStuck[] = "HB-slot-stuck";
constexpr std::chrono::seconds kPatience{1};

void raise_to(std::atomic<std::uint64_t>& number, std::uint64_t to) {
  std::uint64_t seen = number.load();
  while (seen < to && !number.compare_exchange_weak(seen, to)) {
  }
}

// LMDB's writer lock: nobody opens or clears this slot meanwhile, and the commit that its owner was
// in has either happened or not, whether the owner lives or not.
Result<> resolve(control::Group& group, control::EnvironmentEntry& entry, UpdateNumber open) {
  lmdb::OpenOptions options;
  options.path = entry.path;
  options.subdirectory = entry.subdirectory != 0;
  HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment, /*read_only=*/false));
  if (entry.slot.number.load() != open.value) return {};
  const std::uint64_t last = txn.id().value - 1;
  if (entry.slot.txnid <= last) {
    if (entry.slot.kept_local != 0) HOTBACKUP_TRY(environment.sync());
    raise_to(entry.last_txnid, entry.slot.txnid);
  } else {
    HOTBACKUP_TRY(group.journal().set_void(open, control::Group::slot_location(entry)));
  }
  group.clear_slot(entry, open);
  return {};
}

/// With a mapping of its own: the caller's may be gone when LMDB's lock comes free.
void resolve_aside(const std::string& directory, EnvironmentNumber environment, UpdateNumber open,
                   const std::shared_ptr<std::atomic<bool>>& busy) {
  if (auto group = control::Group::open(directory))
    if (auto* entry = (*group)->environment(environment)) (void)resolve(**group, *entry, open);
  busy->store(false);
}

}  // namespace

void SlotResolver::look(control::Group& group) {
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n) {
    control::EnvironmentEntry* entry = group.environment(EnvironmentNumber(n));
    if (entry != nullptr && entry->recovery_due.load() == 0) look_at(group, *entry, seen_[n]);
  }
}

void SlotResolver::look_at(control::Group& group, control::EnvironmentEntry& entry, Seen& seen) {
  const UpdateNumber open(entry.slot.number.load());
  const auto now = std::chrono::steady_clock::now();
  if (open != seen.number || open.value == 0) {
    if (std::exchange(seen.named, false)) group.incidents().clear(kStuck, entry.name);
    seen.number = open;
    seen.since = now;
    if (open.value == 0) return;
  }
  const auto pid = static_cast<pid_t>(entry.slot.pid.load());
  const bool alive = os::process_exists(pid);
  if (alive && now - seen.since < kPatience) return;
  if (alive && !seen.named) {
    seen.named = true;
    group.incidents().raise(kStuck, entry.name,
                            "a commit in environment " + std::string(entry.name) + " by process " +
                                std::to_string(pid) + " (" + os::process_name(pid) +
                                ") has not ended");
  }
  if (seen.busy->exchange(true)) return;
  std::thread(resolve_aside, group.directory(), EnvironmentNumber(entry.number), open, seen.busy)
      .detach();
}

}  // namespace hotbackup::master
