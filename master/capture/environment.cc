// SPDX-License-Identifier: Apache-2.0
// Transactions and flags of a captured environment; writes.cc has the calls that change items.
#include "master/capture/environment.h"

#include <exception>

#include "common/os/size_lock.h"
#include "master/capture/codes.h"
#include "master/capture/flags.h"
#include "master/capture/gate.h"
#include "master/capture/real_lmdb.h"

namespace hotbackup::capture {
namespace {

struct LastUpdate {
  std::uint64_t serial;  // 0: free
  std::uint64_t number;
};
constexpr std::size_t kRememberedMax = 16;  // environments a thread; the oldest goes
thread_local LastUpdate t_last_updates[kRememberedMax];
thread_local std::size_t t_next_remembered = 0;

std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1) + 1;
}

}  // namespace

void Environment::remember_update(UpdateNumber number) const {
  for (LastUpdate& last : t_last_updates) {
    if (last.serial != serial_) continue;
    last.number = number.value;
    return;
  }
  t_last_updates[t_next_remembered] = {serial_, number.value};
  t_next_remembered = (t_next_remembered + 1) % kRememberedMax;
}

UpdateNumber Environment::last_update() const {
  for (const LastUpdate& last : t_last_updates)
    if (last.serial == serial_) return UpdateNumber(last.number);
  return {};
}

Environment::Environment(MDB_env* env, const Membership& member, unsigned asked_flags)
    : env_(env),
      serial_(next_serial()),
      group_(member.group),
      path_(member.path),
      subdirectory_(member.subdirectory),
      generation_(fork_generation()),
      asked_flags_(asked_flags),
      entry_(member.entry),
      recorder_(group_ != nullptr ? &group_->journal_directory() : nullptr) {
  databases_.opened(DatabaseTable::kMain, nullptr, nullptr);
}

/// `hotbackup unlink` while the program runs: it goes on without capture.
bool Environment::is_switched_off() const {
  return group_ != nullptr && group_->role() == control::Role::kNone;
}

int Environment::begin(MDB_txn* parent, unsigned flags, MDB_txn** txn) {
  const bool gated = parent == nullptr && group_ != nullptr;
  const int begun = gated ? begin_through_gate(*group_, env_, flags, txn)
                          : real().txn_begin(env_, parent, flags, txn);
  if (begun != 0) return begun;
  try {
    if (parent != nullptr) {
      if (owns(parent)) recorder_.begin_nested(*txn);
      return 0;
    }
    if (is_switched_off()) {
      note_end(*group_);
      return 0;
    }
    recorder_.begin(*txn, begin_transaction(*txn));
    return 0;
  } catch (const std::exception&) {
    if (parent == nullptr) recorder_.clear();
    real().txn_abort(*txn);
    if (gated) note_end(*group_);
    return ENOMEM;
  }
}

/// What the first change is to return; keep-local data of a node that is not master is asked about
/// apart.
int Environment::begin_transaction(MDB_txn* txn) {
  local_only_ = false;
  if (group_ == nullptr) return EACCES;
  if (entry_ == nullptr) entry_ = join_group(*group_, path_, subdirectory_);
  if (entry_ == nullptr) return EACCES;
  if (const int rc = read_rules(); rc != 0) return rc;
  if (group_->role() != control::Role::kMaster) {
    local_only_ = !rules_.empty();
    return EACCES;
  }
  if (!protocol_) protocol_.emplace(*group_, *entry_, env_);
  return protocol_->begin(txn);
}

/// Rules stay the same for a whole transaction.
int Environment::read_rules() {
  const std::uint32_t ticket = group_->keep_local_ticket();
  if (rules_ticket_ == ticket) return 0;
  auto rules = group_->keep_local(entry_->configured);
  if (!rules) return code_of(rules.error());
  rules_ = std::move(*rules);
  rules_ticket_ = ticket;
  return 0;
}

/// Keep-local data on a node that is not master: nothing is journaled. The applier is told which
/// transaction this was; LMDB's writer lock keeps it out until the commit is done.
int Environment::commit_local(MDB_txn* txn) {
  recorder_.clear();
  if (group_->role() == control::Role::kMaster) {  // from the next transaction on it is captured
    real().txn_abort(txn);
    return EBUSY;
  }
  const TxnId id(real().txn_id(txn));
  // After a foreign write nothing is announced: the applier is to notice it too.
  if (control::Group::accounts_for(*entry_, id.previous()))
    entry_->applying_txnid.store(id.value);
  else
    group_->incidents().raise("HB-copy-written", entry_->name,
                              control::Group::describe_foreign_write(*entry_, id.previous()));
  {
    // The slave server's map sets the file's size; not while pages are written behind its end.
    mdb_filehandle_t fd = -1;
    (void)real().env_get_fd(env_, &fd);
    const os::SizeLock lock(fd);
    if (const int rc = real().txn_commit(txn); rc != 0) return rc;
  }
  if (commits_are_durable(asked_flags_.load()) && real().env_sync(env_, 1) != 0)
    tell_local_unsynced(*group_, *entry_);
  return 0;
}

int Environment::commit(MDB_txn* txn) {
  if (recorder_.is_nested(txn)) {
    recorder_.prepare_nested_commit(txn);
    const int rc = real().txn_commit(txn);
    recorder_.end_nested(txn, rc == 0);
    databases_.ended(txn, recorder_.top(), rc == 0);
    return rc;
  }
  UpdateNumber number;
  const int rc = commit_outermost(txn, number);
  if (group_ != nullptr) note_end(*group_);
  if (number.value != 0) remember_update(number);
  return rc != 0 || number.value == 0 ? rc : await_lease(*group_);
}

int Environment::commit_outermost(MDB_txn* txn, UpdateNumber& number) {
  const int poisoned = recorder_.finish();
  databases_.ended(txn, nullptr, poisoned == 0);
  if (poisoned != 0) {
    recorder_.clear();
    real().txn_abort(txn);
    return poisoned;
  }
  if (local_only_ && recorder_.kept()) return commit_local(txn);
  if (!recorder_.changed() && !recorder_.touched() && !recorder_.kept()) {
    recorder_.clear();
    return real().txn_commit(txn);
  }
  return protocol_->commit(txn, recorder_, commits_are_durable(asked_flags_.load()), number);
}

void Environment::abort(MDB_txn* txn) {
  const bool nested = recorder_.is_nested(txn);
  databases_.ended(txn, nullptr, false);
  if (nested)
    recorder_.end_nested(txn, false);
  else
    recorder_.clear();
  real().txn_abort(txn);
  if (!nested && group_ != nullptr) note_end(*group_);
}

// The journal first: LMDB's data must never be durable ahead of it.
int Environment::sync(int force) {
  if (group_ != nullptr && group_->role() == control::Role::kMaster) {
    if (auto synced = group_->journal().sync_through(group_->made()); !synced)
      return code_of(synced.error());
  }
  control::EnvironmentEntry* const entry = protocol_ ? &protocol_->entry() : nullptr;
  std::uint32_t unsynced = entry != nullptr ? entry->unsynced_commits.load() : 0;
  const int rc = real().env_sync(env_, force);
  unsigned flags = 0;
  real().env_get_flags(env_, &flags);
  const bool all_synced = rc == 0 && (force != 0 || (flags & (MDB_NOSYNC | MDB_MAPASYNC)) == 0);
  if (all_synced && unsynced != 0) entry->unsynced_commits.compare_exchange_strong(unsynced, 0);
  return rc;
}

int Environment::set_flags(unsigned flags, int onoff) {
  if (const int rc = real().env_set_flags(env_, flags, onoff); rc != 0) return rc;
  if (onoff != 0) {
    asked_flags_.fetch_or(flags);
    return 0;
  }
  const unsigned asked = asked_flags_.fetch_and(~flags) & ~flags;
  if ((flags & MDB_NOMETASYNC) != 0 && (flags_underneath(asked) & MDB_NOMETASYNC) != 0)
    return real().env_set_flags(env_, MDB_NOMETASYNC, 1);
  return 0;
}

int Environment::get_flags(unsigned* flags) const {
  if (const int rc = real().env_get_flags(env_, flags); rc != 0) return rc;
  *flags = flags_shown(*flags, asked_flags_.load());
  return 0;
}

}  // namespace hotbackup::capture
