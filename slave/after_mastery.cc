// SPDX-License-Identifier: Apache-2.0
// What a master leaves behind when it becomes a slave: its environments become copies.
#include "common/lmdb/environment.h"
#include "common/recovery/environment_recovery.h"
#include "slave/applied_file.h"

namespace hotbackup::slave {
namespace {

/// The writer lock: a transaction that began while this node was master has ended. Its commit was
/// refused or has happened; a slot that is open still was left by a program that died.
Result<> settle(control::Group& group, control::EnvironmentEntry& entry) {
  HOTBACKUP_TRY(recovery::recover(group, entry));
  lmdb::OpenOptions options;
  options.path = entry.path;
  options.subdirectory = entry.subdirectory != 0;
  auto opened = lmdb::Environment::open(options);
  if (!opened && opened.error().code() == ErrorCode::kNotFound) return {};
  if (!opened) return fail(std::move(opened).error());
  lmdb::Environment& environment = *opened;
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment, /*read_only=*/false));
  const std::uint64_t last = txn.id().value - 1;
  if (const UpdateNumber open(entry.slot.number.load()); open.value != 0) {
    if (entry.slot.txnid > last)
      HOTBACKUP_TRY(group.journal().set_void(open, control::Group::slot_location(entry)));
    group.clear_slot(entry, open);
  }
  entry.baselined.store(0);
  entry.applying_txnid.store(0);
  entry.file_identity.store(0);
  entry.last_txnid.store(last);
  txn.abort();
  return environment.sync();
}

}  // namespace

Result<> settle_after_mastery(control::Group& group) {
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n)
    if (control::EnvironmentEntry* entry = group.environment(EnvironmentNumber(n)))
      if (auto done = settle(group, *entry); !done)
        return fail(
            std::move(done).error().with_context("environment " + std::string(entry->name)));
  const UpdateNumber made = group.made();
  HOTBACKUP_TRY(group.journal().sync_through(made));
  HOTBACKUP_TRY(write_applied(group, {made, made}));
  group.layout().applied.store(made.value);
  return group.settled();
}

}  // namespace hotbackup::slave
