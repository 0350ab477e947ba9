// SPDX-License-Identifier: Apache-2.0
#include "master/slot_resolver.h"

#include <csignal>

#include "common/lmdb/environment.h"

namespace hotbackup::master {
namespace {

bool dead(std::uint32_t pid) {
  return pid != 0 && ::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH;
}

void raise_to(std::atomic<std::uint64_t>& number, std::uint64_t to) {
  std::uint64_t seen = number.load();
  while (seen < to && !number.compare_exchange_weak(seen, to)) {
  }
}

Result<> resolve(control::Group& group, control::EnvironmentEntry& entry) {
  lmdb::OpenOptions options;
  options.path = entry.path;
  options.subdirectory = entry.subdirectory != 0;
  HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
  // Holds LMDB's writer lock: nobody opens or clears this slot meanwhile, and a commit that the
  // dead writer was in has either happened or not.
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment, /*read_only=*/false));
  const UpdateNumber number(entry.slot.number.load());
  if (number.value == 0 || !dead(entry.slot.pid.load())) return {};
  const std::uint64_t last = txn.id().value - 1;
  if (entry.slot.txnid <= last) {
    if (entry.slot.kept_local != 0) HOTBACKUP_TRY(environment.sync());
    raise_to(entry.last_txnid, entry.slot.txnid);
  } else {
    HOTBACKUP_TRY(group.journal().set_void(number, control::Group::slot_location(entry)));
  }
  group.clear_slot(entry, number);
  return {};
}

}  // namespace

Result<> resolve_dead_slots(control::Group& group) {
  const auto count = static_cast<std::uint32_t>(group.environment_count());
  for (std::uint32_t n = 1; n <= count; ++n) {
    control::EnvironmentEntry* entry = group.environment(EnvironmentNumber(n));
    if (entry == nullptr || entry->slot.number.load() == 0 || !dead(entry->slot.pid.load()))
      continue;
    auto resolved = resolve(group, *entry);
    if (!resolved && resolved.error().code() != ErrorCode::kBusy)
      return fail(
          std::move(resolved).error().with_context("environment " + std::string(entry->name)));
  }
  return {};
}

}  // namespace hotbackup::master
