// SPDX-License-Identifier: Apache-2.0
// Short forms of LMDB calls for test cases. Each gives LMDB's return code unless it says otherwise.
#pragma once

#include <doctest/doctest.h>
#include <lmdb.h>

#include <string>
#include <string_view>

#include "tests/unit/capture/group_fixture.h"

namespace hotbackup::test {

/// One environment that closes itself.
class Env {
 public:
  explicit Env(const std::string& path, unsigned flags = 0) : env_(open_env(path, flags)) {}
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;
  ~Env() { close(); }
  MDB_env* get() const { return env_; }
  void close() {
    if (env_ != nullptr) mdb_env_close(env_);
    env_ = nullptr;
  }

 private:
  MDB_env* env_;
};

/// One transaction that aborts unless it is committed.
class Txn {
 public:
  explicit Txn(MDB_env* env, MDB_txn* parent = nullptr, unsigned flags = 0) {
    REQUIRE(mdb_txn_begin(env, parent, flags, &txn_) == 0);
  }
  explicit Txn(const Env& env, unsigned flags = 0) : Txn(env.get(), nullptr, flags) {}
  Txn(const Txn&) = delete;
  Txn& operator=(const Txn&) = delete;
  ~Txn() { abort(); }
  operator MDB_txn*() const { return txn_; }

  MDB_dbi open(const char* name, unsigned flags = MDB_CREATE) {
    MDB_dbi dbi = 0;
    REQUIRE(mdb_dbi_open(txn_, name, flags, &dbi) == 0);
    return dbi;
  }
  int put(MDB_dbi dbi, std::string_view key, std::string_view value, unsigned flags = 0) {
    MDB_val k = val(key), v = val(value);
    return mdb_put(txn_, dbi, &k, &v, flags);
  }
  int del(MDB_dbi dbi, std::string_view key) {
    MDB_val k = val(key);
    return mdb_del(txn_, dbi, &k, nullptr);
  }
  int del(MDB_dbi dbi, std::string_view key, std::string_view value) {
    MDB_val k = val(key), v = val(value);
    return mdb_del(txn_, dbi, &k, &v);
  }
  int commit() {
    MDB_txn* const txn = txn_;
    txn_ = nullptr;
    return mdb_txn_commit(txn);
  }
  void abort() {
    if (txn_ != nullptr) mdb_txn_abort(txn_);
    txn_ = nullptr;
  }

 private:
  MDB_txn* txn_ = nullptr;
};

/// A cursor placed on a key, or on a pair; closed by its transaction's end or here.
class At {
 public:
  At(MDB_txn* txn, MDB_dbi dbi, std::string_view key) : At(txn, dbi) {
    MDB_val k = val(key), v{};
    REQUIRE(mdb_cursor_get(cursor_, &k, &v, MDB_SET) == 0);
  }
  At(MDB_txn* txn, MDB_dbi dbi, std::string_view key, std::string_view value) : At(txn, dbi) {
    MDB_val k = val(key), v = val(value);
    REQUIRE(mdb_cursor_get(cursor_, &k, &v, MDB_GET_BOTH) == 0);
  }
  At(MDB_txn* txn, MDB_dbi dbi) { REQUIRE(mdb_cursor_open(txn, dbi, &cursor_) == 0); }
  At(const At&) = delete;
  At& operator=(const At&) = delete;
  ~At() { mdb_cursor_close(cursor_); }
  operator MDB_cursor*() const { return cursor_; }
  int put(std::string_view key, std::string_view value, unsigned flags) {
    MDB_val k = val(key), v = val(value);
    return mdb_cursor_put(cursor_, &k, &v, flags);
  }

 private:
  MDB_cursor* cursor_ = nullptr;
};

}  // namespace hotbackup::test
