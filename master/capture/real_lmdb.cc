// SPDX-License-Identifier: Apache-2.0
#include "master/capture/real_lmdb.h"

#include <dlfcn.h>

namespace hotbackup::capture {
namespace {

RealLmdb g_table;

// The next definition after ours. Where there is none (this library was loaded apart from the
// program's global scope), the liblmdb that this library itself is linked with.
template <class Function>
void look_up(Function& function, const char* name) {
  void* symbol = ::dlsym(RTLD_NEXT, name);
  if (symbol == nullptr) {
    if (void* library = ::dlopen("liblmdb.so.0", RTLD_LAZY | RTLD_LOCAL); library != nullptr)
      symbol = ::dlsym(library, name);
  }
  function = reinterpret_cast<Function>(symbol);
}

}  // namespace

std::atomic<const RealLmdb*> g_real_lmdb{nullptr};

// Several threads may come here at once; the first to finish fills the table.
const RealLmdb& resolve_real_lmdb() {
  RealLmdb found{};
  look_up(found.env_open, "mdb_env_open");
  look_up(found.env_close, "mdb_env_close");
  look_up(found.env_set_flags, "mdb_env_set_flags");
  look_up(found.env_get_flags, "mdb_env_get_flags");
  look_up(found.env_sync, "mdb_env_sync");
  look_up(found.env_info, "mdb_env_info");
  look_up(found.env_get_fd, "mdb_env_get_fd");
  look_up(found.txn_begin, "mdb_txn_begin");
  look_up(found.txn_commit, "mdb_txn_commit");
  look_up(found.txn_abort, "mdb_txn_abort");
  look_up(found.txn_env, "mdb_txn_env");
  look_up(found.txn_id, "mdb_txn_id");
  look_up(found.dbi_open, "mdb_dbi_open");
  look_up(found.dbi_close, "mdb_dbi_close");
  look_up(found.dbi_flags, "mdb_dbi_flags");
  look_up(found.drop, "mdb_drop");
  look_up(found.put, "mdb_put");
  look_up(found.del, "mdb_del");
  look_up(found.cursor_get, "mdb_cursor_get");
  look_up(found.cursor_put, "mdb_cursor_put");
  look_up(found.cursor_del, "mdb_cursor_del");
  look_up(found.cursor_txn, "mdb_cursor_txn");
  look_up(found.cursor_dbi, "mdb_cursor_dbi");
  look_up(found.set_compare, "mdb_set_compare");
  look_up(found.set_dupsort, "mdb_set_dupsort");
  static std::atomic_flag writing = ATOMIC_FLAG_INIT;
  while (writing.test_and_set(std::memory_order_acquire)) {
  }
  if (g_real_lmdb.load(std::memory_order_relaxed) == nullptr) {
    g_table = found;
    g_real_lmdb.store(&g_table, std::memory_order_release);
  }
  writing.clear(std::memory_order_release);
  return g_table;
}

}  // namespace hotbackup::capture
