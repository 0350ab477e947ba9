// SPDX-License-Identifier: Apache-2.0
#include "master/capture/commit.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <functional>
#include <optional>

#include "common/recovery/baseline.h"
#include "master/capture/codes.h"
#include "master/capture/gate.h"
#include "master/capture/real_lmdb.h"

namespace hotbackup::capture {
namespace {

constexpr char kCommitFailed[] = "HB-commit-failed";

Error out_of_memory() {
  return Error(ErrorCode::kIo, "out of memory", ENOMEM);
}

}  // namespace

void tell_local_unsynced(control::Group& group, const control::EnvironmentEntry& entry) {
  group.incidents().raise("HB-local-unsynced", entry.name,
                          "a commit happened, but the disk failed the sync of its keep-local data, "
                          "which is nowhere else");
}

Result<> CommitProtocol::resolve(UpdateNumber open, std::uint64_t last) {
  if (entry_.slot.txnid <= last) {
    if (entry_.slot.kept_local != 0) {
      HOTBACKUP_TRY(group_.journal().sync_through(open));
      if (const int rc = real().env_sync(env_, 1); rc != 0)
        return fail(ErrorCode::kIo, "syncing keep-local data", rc);
    }
    advance_walk(entry_.slot.txnid);
  } else {
    HOTBACKUP_TRY(group_.journal().set_void(open, control::Group::slot_location(entry_)));
  }
  group_.clear_slot(entry_, open);
  return {};
}

int CommitProtocol::begin(MDB_txn* txn) {
  const std::uint64_t last = real().txn_id(txn) - 1;
  if (const UpdateNumber open(entry_.slot.number.load()); open.value != 0) {
    if (auto resolved = resolve(open, last); !resolved) return code_of(resolved.error());
  }
  return check_bypass(last);
}

// Another file lies in the place of the one that captured commits went to.
bool CommitProtocol::is_replaced() {
  const std::uint64_t due = entry_.inode.load();
  if (due == 0 || entry_.baselined.load() == 0) return false;
  mdb_filehandle_t fd = -1;
  struct stat status {};
  if (inode_ == 0 && real().env_get_fd(env_, &fd) == 0 && ::fstat(fd, &status) == 0)
    inode_ = status.st_ino;
  return inode_ != 0 && inode_ != due;
}

// Whoever wrote here without the library: LMDB's txnid tells, or, where he did without its locks as
// well, the meta page that is ahead of them. The next update brings a new baseline.
int CommitProtocol::check_bypass(std::uint64_t last) {
  MDB_envinfo info{};
  real().env_info(env_, &info);
  const bool without_locks = info.me_last_txnid > last;
  const bool off_the_walk = entry_.baselined.load() != 0 && entry_.last_txnid.load() != last;
  const bool replaced = is_replaced();
  if (!without_locks && !off_the_walk && !replaced) return 0;
  const std::string name = "environment " + std::string(entry_.name);
  if (without_locks)
    group_.incidents().raise("HB-nolock-writer", entry_.name,
                             name + " is written without LMDB's locks: transaction " +
                                 std::to_string(info.me_last_txnid) + " is lost to " +
                                 std::to_string(last + 1));
  const std::string other = "the data file of " + name + ", " + entry_.path + ", was replaced";
  if (replaced) group_.incidents().raise("HB-replaced", entry_.name, other);
  const auto noted = group_.set_unlogged(
      entry_, replaced ? other
                       : name + " was written without capture: its last transaction is " +
                             std::to_string(std::max<std::uint64_t>(last, info.me_last_txnid)) +
                             ", not " + std::to_string(entry_.last_txnid.load()));
  if (!noted) return code_of(noted.error());
  entry_.baselined.store(0);
  return 0;
}

// Only forward: the next writer may have resolved this slot and committed already.
void CommitProtocol::advance_walk(std::uint64_t txnid) {
  std::uint64_t seen = entry_.last_txnid.load();
  while (seen < txnid && !entry_.last_txnid.compare_exchange_weak(seen, txnid)) {
  }
}

// The master server tells of the journal's limit; without one, who is refused does.
void CommitProtocol::tell_at_limit(const Error& error) {
  if (error.code() != ErrorCode::kNoSpace || error.os_error() != 0) return;
  if (group_.server_alive(control::Group::Server::kMaster)) return;
  group_.incidents().raise("HB-journal-limit", "",
                           error.text() + "; commits are refused, and no hotbackup-master runs");
}

Result<journal::Appended> CommitProtocol::append(Recorder& recorder, TxnId txnid, bool durable,
                                                 Claim& claim,
                                                 std::optional<journal::Appended>& open) {
  const bool baseline_due = entry_.baselined.load() != 1;
  const recovery::Description environment =
      baseline_due ? recovery::describe(entry_, env_) : recovery::Description{};
  HOTBACKUP_TRY(recorder.update().prepare());

  HOTBACKUP_ASSIGN(auto lock, group_.journal().lock());
  if (group_.role() != control::Role::kMaster)
    return fail(ErrorCode::kFenced, "this node is not the group's master");
  if (!lease_holds(group_)) return fail(ErrorCode::kFenced, "the master's lease has run out");
  HOTBACKUP_TRY(admit(group_, recorder.update().total_bytes(), baseline_due ? 2 : 0, claim));
  if (baseline_due)
    HOTBACKUP_TRY(recovery::append_baseline(group_, entry_, lock, environment, txnid.previous()));
  journal::FrameHeader fields;
  fields.epoch = group_.epoch();
  fields.environment = EnvironmentNumber(entry_.number);
  fields.kind = journal::FrameKind::kUpdate;
  fields.kept_local = recorder.kept();
  fields.txnid = txnid;
  // What lies on pages that nobody has synced cannot be replayed upon either.
  fields.no_sync = !durable || entry_.unsynced_commits.load() != 0;
  fields.commit_time = wall_now();
  const auto open_slot = [&](const journal::Appended& expected) {
    entry_.slot.kept_local = recorder.kept() ? 1 : 0;
    control::Group::open_slot(entry_, expected, txnid);
    open = expected;
  };
  Result<journal::Appended> appended = fail(out_of_memory());
  try {
    appended = group_.journal().append(lock, recorder.update(), fields, std::ref(open_slot));
  } catch (const std::exception&) {
  }
  if (appended) admitted(group_, claim);
  if (!appended) tell_at_limit(appended.error());
  return appended;
}

// The program is told, and its people may not read what it says.
void CommitProtocol::tell_failed(int rc) {
  if (rc != EIO && rc != ENOSPC && rc != EDQUOT && rc != EROFS) return;
  group_.incidents().raise(kCommitFailed, entry_.name,
                           "a commit in environment " + std::string(entry_.name) +
                               " failed: " + std::strerror(rc) + "; its program was told");
}

// Where this fails the slot stays open: the watermark stays below the update, and whoever writes
// next tries again.
void CommitProtocol::void_update(const journal::Appended& appended) {
  try {
    if (group_.journal().set_void(appended.number, appended.location))
      group_.clear_slot(entry_, appended.number);
  } catch (const std::exception&) {
  }
}

Result<journal::Appended> CommitProtocol::journal_update(Recorder& recorder, TxnId txnid,
                                                         bool durable, Claim& claim) {
  std::optional<journal::Appended> open;
  try {
    auto appended = append(recorder, txnid, durable, claim, open);
    if (appended && !durable) return appended;
    auto synced = appended ? group_.journal().sync_through(appended->number) : Result<>();
    if (appended && synced) return appended;
    // Of a write that failed everything may be there, too.
    if (open) void_update(*open);
    return appended ? fail(std::move(synced).error()) : fail(std::move(appended).error());
  } catch (const std::exception&) {
    if (open) void_update(*open);
    return fail(out_of_memory());
  }
}

// The program believes that its handle is gone after a commit, whatever the result.
int CommitProtocol::commit(MDB_txn* txn, Recorder& recorder, bool durable, UpdateNumber& number) {
  const TxnId txnid(real().txn_id(txn));
  const bool has_operations = recorder.changed();
  const bool sync_local = recorder.kept() && durable;
  Claim claim;
  const auto appended = journal_update(recorder, txnid, durable, claim);
  recorder.clear();
  if (!appended) {
    real().txn_abort(txn);
    return code_of(appended.error());
  }
  // Under LMDB's lock, which its commit lets go: who syncs may come before the next line.
  std::uint32_t unsynced = entry_.unsynced_commits.load();
  if (!durable) entry_.unsynced_commits.fetch_add(1);
  if (const int rc = real().txn_commit(txn); rc != 0) {
    void_update(*appended);
    tell_failed(rc);
    return rc;
  }
  if (group_.incidents().find(kCommitFailed, entry_.name))
    group_.incidents().clear(kCommitFailed, entry_.name);
  if (!has_operations) {
    // LMDB writes nothing when a refused call left no page changed; then there was no commit.
    MDB_envinfo info{};
    real().env_info(env_, &info);
    if (info.me_last_txnid < txnid.value) {
      void_update(*appended);
      return 0;
    }
  }
  // What is kept local is in no journal: all of it is durable here before anything is said.
  // Where that fails the slot stays open and nothing of it leaves this machine: who writes next, or
  // the master server, syncs again.
  const bool local_synced = !sync_local || real().env_sync(env_, 1) == 0;
  // LMDB has synced all pages before its meta page.
  if (durable) entry_.unsynced_commits.compare_exchange_strong(unsynced, 0);
  advance_walk(txnid.value);
  if (local_synced)
    group_.clear_slot(entry_, appended->number);
  else
    tell_local_unsynced(group_, entry_);
  number = appended->number;
  settle(group_, claim, appended->number);
  return 0;
}

}  // namespace hotbackup::capture
