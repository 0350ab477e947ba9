// SPDX-License-Identifier: Apache-2.0
// Transactions and flags of a captured environment; writes.cc has the calls that change items.
#include "master/capture/environment.h"

#include <exception>

#include "master/capture/codes.h"
#include "master/capture/flags.h"
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
      recorder_(group_ != nullptr ? &group_->journal_directory() : nullptr) {
  databases_.opened(DatabaseTable::kMain, nullptr);
  if (member.entry != nullptr) protocol_.emplace(*group_, *member.entry, env_);
}

/// `hotbackup unlink` while the program runs: it goes on without capture.
bool Environment::is_switched_off() const {
  return group_ != nullptr && group_->role() == control::Role::kNone;
}

int Environment::begin(MDB_txn* parent, unsigned flags, MDB_txn** txn) {
  if (const int rc = real().txn_begin(env_, parent, flags, txn); rc != 0) return rc;
  try {
    if (parent != nullptr) {
      if (owns(parent)) recorder_.begin_nested(*txn);
      return 0;
    }
    if (is_switched_off()) return 0;
    int refusal = 0;
    if (group_ == nullptr || group_->role() != control::Role::kMaster) {
      refusal = EACCES;
    } else {
      if (!protocol_) {
        control::EnvironmentEntry* entry = join_group(*group_, path_, subdirectory_);
        if (entry != nullptr) protocol_.emplace(*group_, *entry, env_);
      }
      refusal = protocol_ ? protocol_->begin(*txn) : EACCES;
    }
    recorder_.begin(*txn, refusal);
    return 0;
  } catch (const std::exception&) {
    if (parent == nullptr) recorder_.clear();
    real().txn_abort(*txn);
    return ENOMEM;
  }
}

int Environment::commit(MDB_txn* txn) {
  if (recorder_.is_nested(txn)) {
    recorder_.prepare_nested_commit(txn);
    const int rc = real().txn_commit(txn);
    recorder_.end_nested(txn, rc == 0);
    return rc;
  }
  if (const int poisoned = recorder_.finish(); poisoned != 0) {
    recorder_.clear();
    real().txn_abort(txn);
    return poisoned;
  }
  if (!recorder_.changed() && !recorder_.touched()) {
    recorder_.clear();
    return real().txn_commit(txn);
  }
  UpdateNumber number;
  const int rc =
      protocol_->commit(txn, recorder_, commits_are_durable(asked_flags_.load()), number);
  if (number.value != 0) remember_update(number);
  return rc;
}

void Environment::abort(MDB_txn* txn) {
  if (recorder_.is_nested(txn))
    recorder_.end_nested(txn, false);
  else
    recorder_.clear();
  real().txn_abort(txn);
}

// The journal first: LMDB's data must never be durable ahead of it.
int Environment::sync(int force) {
  if (group_ != nullptr && group_->role() == control::Role::kMaster) {
    if (auto synced = group_->journal().sync_through(group_->made()); !synced)
      return code_of(synced.error());
  }
  return real().env_sync(env_, force);
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
