// SPDX-License-Identifier: Apache-2.0
// LMDB's own functions behind the hooks. Everything in this folder calls LMDB through this table,
// never by name: the names are ours.
#pragma once

#include <lmdb.h>

#include <atomic>

namespace hotbackup::capture {

struct RealLmdb {
  decltype(&::mdb_env_open) env_open;
  decltype(&::mdb_env_close) env_close;
  decltype(&::mdb_env_set_flags) env_set_flags;
  decltype(&::mdb_env_get_flags) env_get_flags;
  decltype(&::mdb_env_sync) env_sync;
  decltype(&::mdb_env_info) env_info;
  decltype(&::mdb_env_get_fd) env_get_fd;
  decltype(&::mdb_txn_begin) txn_begin;
  decltype(&::mdb_txn_commit) txn_commit;
  decltype(&::mdb_txn_abort) txn_abort;
  decltype(&::mdb_txn_env) txn_env;
  decltype(&::mdb_txn_id) txn_id;
  decltype(&::mdb_dbi_open) dbi_open;
  decltype(&::mdb_dbi_close) dbi_close;
  decltype(&::mdb_dbi_flags) dbi_flags;
  decltype(&::mdb_drop) drop;
  decltype(&::mdb_put) put;
  decltype(&::mdb_del) del;
  decltype(&::mdb_cursor_get) cursor_get;
  decltype(&::mdb_cursor_put) cursor_put;
  decltype(&::mdb_cursor_del) cursor_del;
  decltype(&::mdb_cursor_txn) cursor_txn;
  decltype(&::mdb_cursor_dbi) cursor_dbi;
  decltype(&::mdb_set_compare) set_compare;
  decltype(&::mdb_set_dupsort) set_dupsort;
};

extern std::atomic<const RealLmdb*> g_real_lmdb;
const RealLmdb& resolve_real_lmdb();

inline const RealLmdb& real() {
  const RealLmdb* table = g_real_lmdb.load(std::memory_order_acquire);
  return table != nullptr ? *table : resolve_real_lmdb();
}

}  // namespace hotbackup::capture
