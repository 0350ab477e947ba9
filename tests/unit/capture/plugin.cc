// SPDX-License-Identifier: Apache-2.0
// A module that brings liblmdb with it, as PowerDNS's LMDB backend does.
#include <lmdb.h>

extern "C" __attribute__((visibility("default"))) int write_one(const char* path) {
  MDB_env* env = nullptr;
  MDB_txn* txn = nullptr;
  MDB_dbi dbi = 0;
  char text[] = "plugin";
  MDB_val value{6, text};
  if (mdb_env_create(&env) != 0 || mdb_env_open(env, path, 0, 0644) != 0) return 1;
  if (mdb_txn_begin(env, nullptr, 0, &txn) != 0 || mdb_dbi_open(txn, nullptr, 0, &dbi) != 0)
    return 2;
  if (mdb_put(txn, dbi, &value, &value, 0) != 0 || mdb_txn_commit(txn) != 0) return 3;
  mdb_env_close(env);
  return 0;
}
