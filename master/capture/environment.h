// SPDX-License-Identifier: Apache-2.0
// One captured environment of this process: every hooked call of it, with what LMDB is asked
// before and after.
#pragma once

#include <lmdb.h>

#include <atomic>
#include <optional>
#include <string>

#include "common/update/keep_local.h"
#include "master/capture/commit.h"
#include "master/capture/databases.h"
#include "master/capture/membership.h"
#include "master/capture/process_state.h"
#include "master/capture/recorder.h"

namespace hotbackup::capture {

/// Made by open_environment, ended by mdb_env_close. Threads may share it as LMDB allows: one
/// writes, others read. Borrows the group, which lives as long as the process.
class Environment {
 public:
  Environment(MDB_env* env, const Membership& member, unsigned asked_flags);

  control::Group* group() const { return group_; }
  /// True in a child of the process that opened it: LMDB allows nothing there but to leave it be.
  bool is_inherited() const { return generation_ != fork_generation(); }
  /// Whether calls with this transaction change things; the rest is for LMDB to answer.
  bool writes(MDB_txn* txn) const { return recorder_.top() == txn && !is_inherited(); }
  /// A write transaction that was open when this child was made.
  bool inherited(MDB_txn* txn) const { return is_inherited() && recorder_.may_contain(txn); }
  bool owns(MDB_txn* txn) const { return !is_inherited() && recorder_.contains(txn); }

  int begin(MDB_txn* parent, unsigned flags, MDB_txn** txn);
  int commit(MDB_txn* txn);
  void abort(MDB_txn* txn);
  int sync(int force);
  int set_flags(unsigned flags, int onoff);
  int get_flags(unsigned* flags) const;

  int open_database(MDB_txn* txn, const char* name, unsigned flags, MDB_dbi* dbi);
  void close_database(MDB_dbi dbi) { databases_.closed(dbi); }
  void set_custom_order(MDB_dbi dbi) { databases_.set_custom_order(dbi); }

  // The transaction is one that writes().
  int drop(MDB_txn* txn, MDB_dbi dbi, int del);
  int put(MDB_txn* txn, MDB_dbi dbi, MDB_val* key, MDB_val* data, unsigned flags);
  int del(MDB_txn* txn, MDB_dbi dbi, MDB_val* key, MDB_val* data);
  int cursor_put(MDB_cursor* cursor, MDB_val* key, MDB_val* data, unsigned flags);
  int cursor_del(MDB_cursor* cursor, unsigned flags);

  /// What this thread's last commit in this environment became; 0 if none.
  UpdateNumber last_update() const;

  /// After an exception: nothing of the open transaction may be committed any more.
  void poison(int code) { recorder_.poison(code); }

 private:
  /// `kept`: the call changes nothing but keep-local data.
  int gate(bool kept);
  int gate(MDB_dbi dbi, const DatabaseTable::Entry& entry, bool kept);
  void note_change(bool kept) { kept ? recorder_.keep() : recorder_.touch(); }
  bool keeps_at(MDB_cursor* cursor, MDB_dbi dbi, const DatabaseTable::Entry& entry) const;
  int begin_transaction(MDB_txn* txn);
  int read_rules();
  int commit_local(MDB_txn* txn);
  int commit_outermost(MDB_txn* txn, UpdateNumber& number);
  bool is_switched_off() const;
  int create_database(MDB_txn* txn, const char* name, unsigned flags, MDB_dbi* dbi);
  int open_main(MDB_txn* txn, unsigned flags, MDB_dbi* dbi);
  int put_current(MDB_cursor* cursor, const update::Database& database, MDB_val* key, MDB_val* data,
                  unsigned flags);
  int put_multiple(MDB_cursor* cursor, const update::Database& database, MDB_val* key,
                   MDB_val* data, unsigned flags, bool kept);

  void remember_update(UpdateNumber number) const;

  MDB_env* const env_;
  const std::uint64_t serial_;  // of this opening: LMDB's handles come back at the same address
  control::Group* const group_;
  const std::string path_;
  const bool subdirectory_;
  const unsigned generation_;
  std::atomic<unsigned> asked_flags_;
  DatabaseTable databases_;

  // Belong to who holds LMDB's writer lock.
  control::EnvironmentEntry* entry_;        // once the file has joined the group
  std::optional<CommitProtocol> protocol_;  // then, and once this node was master
  Recorder recorder_;
  update::KeepLocalRules rules_;
  std::optional<std::uint32_t> rules_ticket_;
  bool local_only_ = false;  // not master: this transaction may change keep-local data
};

/// mdb_env_open for any path: captured where a group's link is found.
int open_environment(MDB_env* env, const char* path, unsigned flags, mdb_mode_t mode);

}  // namespace hotbackup::capture
