// SPDX-License-Identifier: Apache-2.0
// The exported functions: LMDB's names, and the few of hotbackup.h. Each finds the environment and
// hands over; without captured environments each costs two loads and a jump. Nothing thrown leaves
// here, and errno is as it was.
#include <cxxabi.h>

#include <cerrno>
#include <chrono>

#pragma GCC visibility push(default)
#include "master/capture/hotbackup.h"
#pragma GCC visibility pop

#include "common/os/shared_mutex.h"
#include "master/capture/environment.h"
#include "master/capture/process_state.h"
#include "master/capture/real_lmdb.h"

namespace hotbackup::capture {
namespace {

class PreserveErrno {
 public:
  PreserveErrno() : saved_(errno) {}
  ~PreserveErrno() { errno = saved_; }
  PreserveErrno(const PreserveErrno&) = delete;
  PreserveErrno& operator=(const PreserveErrno&) = delete;

 private:
  const int saved_;
};

Environment* captured(MDB_env* env) {
  if (nothing_captured() || InsideCall::active()) return nullptr;
  return find_environment(env);
}

Environment* captured(MDB_txn* txn) {
  if (nothing_captured() || txn == nullptr || InsideCall::active()) return nullptr;
  return find_environment(real().txn_env(txn));
}

/// The environment in which this transaction may change something.
Environment* writer(MDB_txn* txn) {
  Environment* const environment = captured(txn);
  return environment != nullptr && environment->writes(txn) ? environment : nullptr;
}

/// In a child of the process that began it: LMDB would write there, past the journal.
bool is_inherited(MDB_txn* txn) {
  const Environment* const environment = captured(txn);
  return environment != nullptr && environment->inherited(txn);
}

bool is_inherited(MDB_cursor* cursor) {
  return !nothing_captured() && cursor != nullptr && !InsideCall::active() &&
         is_inherited(real().cursor_txn(cursor));
}

Environment* writer(MDB_cursor* cursor) {
  if (nothing_captured() || cursor == nullptr || InsideCall::active()) return nullptr;
  return writer(real().cursor_txn(cursor));
}

/// Runs a call of a captured environment. What could not be recorded must not be committed.
template <class Call>
int guarded(Environment& environment, Call&& call) {
  const PreserveErrno preserve;
  const InsideCall inside;
  try {
    return call();
  } catch (const abi::__forced_unwind&) {  // the host cancels this thread
    environment.poison(ECANCELED);
    throw;
  } catch (...) {
    environment.poison(ENOMEM);
    return ENOMEM;
  }
}

int wait_for(const control::Group& group, std::uint64_t number, int level, int timeout_ms) {
  const control::Layout& layout = group.layout();
  const auto reached = [&] {
    if (group.role() != control::Role::kMaster)
      return (level == HOTBACKUP_APPLIED ? layout.applied.load() : group.synced().value) >= number;
    for (std::uint32_t i = 0; i < layout.peer_count.load(); ++i) {
      const control::PeerEntry& peer = layout.peers[i];
      if ((level == HOTBACKUP_APPLIED ? peer.applied : peer.journaled).load() >= number)
        return true;
    }
    return false;
  };
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    const std::uint32_t ticket = layout.acknowledged_wake.load();
    if (reached()) return 0;
    std::chrono::milliseconds pause(1000);
    if (timeout_ms >= 0) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
      if (left.count() <= 0) return ETIMEDOUT;
      pause = std::min(pause, left);
    }
    os::futex_wait(layout.acknowledged_wake, ticket, pause);
  }
}

// Apart from the exported functions, which then save no register where nothing is captured.
[[gnu::noinline]] int put(MDB_txn* txn, MDB_dbi dbi, MDB_val* key, MDB_val* data,
                          unsigned int flags) {
  Environment* const environment = writer(txn);
  if (environment == nullptr)
    return is_inherited(txn) ? EINVAL : real().put(txn, dbi, key, data, flags);
  return guarded(*environment, [&] { return environment->put(txn, dbi, key, data, flags); });
}

[[gnu::noinline]] int del(MDB_txn* txn, MDB_dbi dbi, MDB_val* key, MDB_val* data) {
  Environment* const environment = writer(txn);
  if (environment == nullptr) return is_inherited(txn) ? EINVAL : real().del(txn, dbi, key, data);
  return guarded(*environment, [&] { return environment->del(txn, dbi, key, data); });
}

[[gnu::noinline]] int cursor_put(MDB_cursor* cursor, MDB_val* key, MDB_val* data,
                                 unsigned int flags) {
  Environment* const environment = writer(cursor);
  if (environment == nullptr)
    return is_inherited(cursor) ? EINVAL : real().cursor_put(cursor, key, data, flags);
  return guarded(*environment, [&] { return environment->cursor_put(cursor, key, data, flags); });
}

[[gnu::noinline]] int cursor_del(MDB_cursor* cursor, unsigned int flags) {
  Environment* const environment = writer(cursor);
  if (environment == nullptr)
    return is_inherited(cursor) ? EINVAL : real().cursor_del(cursor, flags);
  return guarded(*environment, [&] { return environment->cursor_del(cursor, flags); });
}

}  // namespace
}  // namespace hotbackup::capture

using hotbackup::capture::captured;
using hotbackup::capture::Environment;
using hotbackup::capture::guarded;
using hotbackup::capture::nothing_captured;
using hotbackup::capture::real;
using hotbackup::capture::writer;

extern "C" {

int mdb_env_open(MDB_env* env, const char* path, unsigned int flags, mdb_mode_t mode) {
  if (env == nullptr || path == nullptr || hotbackup::capture::InsideCall::active())
    return real().env_open(env, path, flags, mode);
  const hotbackup::capture::PreserveErrno preserve;
  const hotbackup::capture::InsideCall inside;
  try {
    return hotbackup::capture::open_environment(env, path, flags, mode);
  } catch (const abi::__forced_unwind&) {
    throw;
  } catch (...) {
    return ENOMEM;
  }
}

void mdb_env_close(MDB_env* env) {
  Environment* const environment = env == nullptr ? nullptr : captured(env);
  if (environment == nullptr) return real().env_close(env);
  const hotbackup::capture::PreserveErrno preserve;
  const hotbackup::capture::InsideCall inside;
  hotbackup::capture::forget_environment(env);
  real().env_close(env);
  // After a fork what it has spilled is still the parent's.
  if (!environment->is_inherited()) delete environment;
}

int mdb_env_sync(MDB_env* env, int force) {
  Environment* const environment = captured(env);
  if (environment == nullptr) return real().env_sync(env, force);
  if (environment->is_inherited()) return EINVAL;
  return guarded(*environment, [&] { return environment->sync(force); });
}

int mdb_env_set_flags(MDB_env* env, unsigned int flags, int onoff) {
  Environment* const environment = captured(env);
  if (environment == nullptr) return real().env_set_flags(env, flags, onoff);
  return guarded(*environment, [&] { return environment->set_flags(flags, onoff); });
}

int mdb_env_get_flags(MDB_env* env, unsigned int* flags) {
  Environment* const environment = captured(env);
  if (environment == nullptr) return real().env_get_flags(env, flags);
  return guarded(*environment, [&] { return environment->get_flags(flags); });
}

int mdb_txn_begin(MDB_env* env, MDB_txn* parent, unsigned int flags, MDB_txn** txn) {
  Environment* const environment = captured(env);
  if (environment == nullptr) return real().txn_begin(env, parent, flags, txn);
  if (environment->is_inherited()) return EINVAL;
  if ((flags & MDB_RDONLY) != 0) return real().txn_begin(env, parent, flags, txn);
  return guarded(*environment, [&] { return environment->begin(parent, flags, txn); });
}

int mdb_txn_commit(MDB_txn* txn) {
  Environment* const environment = captured(txn);
  if (environment != nullptr && environment->inherited(txn)) return EINVAL;
  if (environment == nullptr || !environment->owns(txn)) return real().txn_commit(txn);
  return guarded(*environment, [&] { return environment->commit(txn); });
}

void mdb_txn_abort(MDB_txn* txn) {
  Environment* const environment = captured(txn);
  if (environment == nullptr || !environment->owns(txn)) return real().txn_abort(txn);
  guarded(*environment, [&] {
    environment->abort(txn);
    return 0;
  });
}

int mdb_dbi_open(MDB_txn* txn, const char* name, unsigned int flags, MDB_dbi* dbi) {
  Environment* const environment = captured(txn);
  if (environment != nullptr && environment->inherited(txn)) return EINVAL;
  if (environment == nullptr || environment->is_inherited())
    return real().dbi_open(txn, name, flags, dbi);
  return guarded(*environment, [&] { return environment->open_database(txn, name, flags, dbi); });
}

void mdb_dbi_close(MDB_env* env, MDB_dbi dbi) {
  Environment* const environment = captured(env);
  real().dbi_close(env, dbi);
  if (environment == nullptr || environment->is_inherited()) return;
  guarded(*environment, [&] {
    environment->close_database(dbi);
    return 0;
  });
}

int mdb_set_compare(MDB_txn* txn, MDB_dbi dbi, MDB_cmp_func* compare) {
  Environment* const environment = captured(txn);
  const int rc = real().set_compare(txn, dbi, compare);
  if (environment == nullptr || rc != 0 || environment->is_inherited()) return rc;
  return guarded(*environment, [&] {
    environment->set_custom_order(dbi);
    return 0;
  });
}

int mdb_set_dupsort(MDB_txn* txn, MDB_dbi dbi, MDB_cmp_func* compare) {
  Environment* const environment = captured(txn);
  const int rc = real().set_dupsort(txn, dbi, compare);
  if (environment == nullptr || rc != 0 || environment->is_inherited()) return rc;
  return guarded(*environment, [&] {
    environment->set_custom_order(dbi);
    return 0;
  });
}

int mdb_drop(MDB_txn* txn, MDB_dbi dbi, int del) {
  Environment* const environment = writer(txn);
  if (environment == nullptr)
    return hotbackup::capture::is_inherited(txn) ? EINVAL : real().drop(txn, dbi, del);
  return guarded(*environment, [&] { return environment->drop(txn, dbi, del); });
}

int mdb_put(MDB_txn* txn, MDB_dbi dbi, MDB_val* key, MDB_val* data, unsigned int flags) {
  if (nothing_captured()) return real().put(txn, dbi, key, data, flags);
  return hotbackup::capture::put(txn, dbi, key, data, flags);
}

int mdb_del(MDB_txn* txn, MDB_dbi dbi, MDB_val* key, MDB_val* data) {
  if (nothing_captured()) return real().del(txn, dbi, key, data);
  return hotbackup::capture::del(txn, dbi, key, data);
}

int mdb_cursor_put(MDB_cursor* cursor, MDB_val* key, MDB_val* data, unsigned int flags) {
  if (nothing_captured()) return real().cursor_put(cursor, key, data, flags);
  return hotbackup::capture::cursor_put(cursor, key, data, flags);
}

int mdb_cursor_del(MDB_cursor* cursor, unsigned int flags) {
  if (nothing_captured()) return real().cursor_del(cursor, flags);
  return hotbackup::capture::cursor_del(cursor, flags);
}

uint64_t hotbackup_last_update(MDB_env* env) {
  Environment* const environment = captured(env);
  return environment == nullptr ? 0 : environment->last_update().value;
}

int hotbackup_wait(MDB_env* env, uint64_t number, int level, int timeout_ms) {
  Environment* const environment = captured(env);
  if (environment == nullptr || environment->group() == nullptr) return EINVAL;
  if (level != HOTBACKUP_JOURNALED && level != HOTBACKUP_APPLIED) return EINVAL;
  const hotbackup::capture::PreserveErrno preserve;
  return hotbackup::capture::wait_for(*environment->group(), number, level, timeout_ms);
}

int hotbackup_role(MDB_env* env) {
  Environment* const environment = captured(env);
  if (environment == nullptr || environment->group() == nullptr) return HOTBACKUP_NOT_CAPTURED;
  return static_cast<int>(environment->group()->role());
}

}  // extern "C"
