// SPDX-License-Identifier: Apache-2.0
// Does by hand what capture does in a commit and is killed in the middle of it, before or after
// LMDB's own commit: capture_victim before|after ENVIRONMENT GROUP
#include <lmdb.h>

#include <csignal>
#include <string>

#include "common/control/group.h"
#include "common/update/codec.h"

using namespace hotbackup;

namespace {

int die_committing(bool before, const char* path, const char* group_path) {
  MDB_env* env = nullptr;
  MDB_txn* txn = nullptr;
  MDB_dbi dbi = 0;
  if (mdb_env_create(&env) != 0 || mdb_env_set_maxdbs(env, 32) != 0 ||
      mdb_env_open(env, path, 0, 0644) != 0 || mdb_txn_begin(env, nullptr, 0, &txn) != 0 ||
      mdb_dbi_open(txn, "users", 0, &dbi) != 0)
    return 1;
  char text[] = "victim";
  MDB_val value{6, text};
  if (mdb_put(txn, dbi, &value, &value, 0) != 0) return 2;
  auto group = control::Group::open(group_path);
  if (!group) return 3;
  control::EnvironmentEntry* entry = (*group)->environment(EnvironmentNumber(1));
  if (entry == nullptr) return 4;

  journal::PendingUpdate pending((*group)->journal_directory());
  update::BodyWriter(pending.body())
      .add({update::OperationKind::kPut, {false, "users", 0}, text, text, 0});
  journal::FrameHeader fields;
  fields.epoch = (*group)->epoch();
  fields.environment = EnvironmentNumber(1);
  const TxnId txnid(mdb_txn_id(txn));
  fields.txnid = txnid;
  auto lock = (*group)->journal().lock();
  if (!lock) return 5;
  auto appended = (*group)->journal().append(
      *lock, pending, fields,
      [&](const journal::Appended& a) { control::Group::open_slot(*entry, a, txnid); });
  if (!appended) return 6;
  lock->release();
  if (!(*group)->journal().sync_through(appended->number)) return 7;
  if (!before && mdb_txn_commit(txn) != 0) return 8;
  return ::raise(SIGKILL);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 9;
  return die_committing(std::string(argv[1]) == "before", argv[2], argv[3]);
}
