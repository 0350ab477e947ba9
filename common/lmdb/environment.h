// SPDX-License-Identifier: Apache-2.0
// liblmdb's environment, transaction and cursor as owners, with Result errors. Error::os_error()
// keeps LMDB's return code (MDB_MAP_FULL, …) or errno.
#pragma once

#include <lmdb.h>
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/base/ids.h"
#include "common/update/keep_local.h"

namespace hotbackup::lmdb {

/// MDB_MAP_FULL, ENOSPC: kNoSpace · MDB_INVALID, MDB_CORRUPTED, …: kCorrupt · MDB_VERSION_MISMATCH:
/// kVersion · MDB_NOTFOUND, ENOENT: kNotFound · MDB_READERS_FULL: kBusy · the rest kIo.
Error lmdb_error(std::string text, int rc);
inline tl::unexpected<Error> fail_lmdb(std::string text, int rc) {
  return fail(lmdb_error(std::move(text), rc));
}

inline MDB_val to_val(std::string_view bytes) {
  return {bytes.size(), const_cast<char*>(bytes.data())};
}
inline std::string_view to_view(const MDB_val& value) {
  return {static_cast<const char*>(value.mv_data), value.mv_size};
}

/// Flags of a database that LMDB stores: REVERSEKEY, DUPSORT, INTEGERKEY, …
inline constexpr unsigned kDatabaseFlags =
    MDB_REVERSEKEY | MDB_DUPSORT | MDB_INTEGERKEY | MDB_DUPFIXED | MDB_INTEGERDUP | MDB_REVERSEDUP;

struct OpenOptions {
  std::string path;
  bool subdirectory = true;  // a directory with data.mdb and lock.mdb, else one file
  bool read_only = false;
  bool write_map = false;  // note that liblmdb sets the file's size to map_bytes then
  bool no_sync = false;
  bool no_meta_sync = false;
  std::uint64_t map_bytes = 0;  // 0: as the file says
  mode_t mode = 0640;
  unsigned max_databases = 16384;  // costs address space only
  unsigned max_readers = 0;        // 0: LMDB's default
};

/// Path of the data file and of the lock file of an environment.
std::string data_file(const std::string& path, bool subdirectory);
std::string lock_file(const std::string& path, bool subdirectory);

/// One open environment. Always NOTLS: read transactions belong to their object, not to a thread;
/// a write transaction still stays on the thread that began it. liblmdb forbids to open a file
/// twice in one process: open() refuses that with kBusy.
class Environment {
 public:
  static Result<Environment> open(const OpenOptions& options);
  Environment(Environment&& other) noexcept { swap(other); }
  Environment& operator=(Environment&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Environment();

  MDB_env* get() const { return env_; }
  const std::string& path() const { return path_; }

  struct Info {
    std::uint64_t map_bytes = 0;   // of this process's map
    std::uint64_t used_bytes = 0;  // end of the last page in use
    TxnId last_txnid;
    std::uint32_t page_bytes = 0;
  };
  Info info() const;

  /// Changes this process's map; no transaction of this process may be open.
  Result<> set_map_bytes(std::uint64_t bytes);
  /// Everything committed is durable when it returns.
  Result<> sync();
  /// Frees the slots of dead readers, which keep pages from being used again.
  void clear_dead_readers();
  int file_descriptor() const;

 private:
  Environment() = default;
  void swap(Environment& other) noexcept;
  void note_mapping();

  MDB_env* env_ = nullptr;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

/// Aborts when it is destroyed uncommitted.
class Transaction {
 public:
  /// MDB_INCOMPATIBLE where somebody made the main database DUPSORT after a named one was opened
  /// here: liblmdb would end the process. It has to be opened anew.
  static Result<Transaction> begin(Environment& environment, bool read_only);
  Transaction(Transaction&& other) noexcept : txn_(std::exchange(other.txn_, nullptr)) {}
  Transaction& operator=(Transaction&& other) noexcept {
    if (this != &other) {
      abort();
      txn_ = std::exchange(other.txn_, nullptr);
    }
    return *this;
  }
  ~Transaction() { abort(); }

  MDB_txn* get() const { return txn_; }
  TxnId id() const { return TxnId(mdb_txn_id(txn_)); }
  /// The transaction is over, whatever the result.
  Result<> commit();
  void abort() {
    if (txn_ != nullptr) mdb_txn_abort(std::exchange(txn_, nullptr));
  }

 private:
  explicit Transaction(MDB_txn* txn) : txn_(txn) {}
  MDB_txn* txn_;
};

/// mdb_dbi_open of a named database, noted for has_opened_named.
int open_named(Transaction& txn, const std::string& name, unsigned flags, MDB_dbi* dbi);
/// Whether a named database has been opened in this environment of this process, even if it was
/// dropped since: then its main database must not become DUPSORT.
bool has_opened_named(const Transaction& txn);

/// Reads items in order. Closed before its transaction ends.
class Cursor {
 public:
  static Result<Cursor> open(Transaction& txn, MDB_dbi dbi);
  Cursor(Cursor&& other) noexcept : cursor_(std::exchange(other.cursor_, nullptr)) {}
  Cursor& operator=(Cursor&& other) noexcept {
    std::swap(cursor_, other.cursor_);
    return *this;
  }
  ~Cursor() {
    if (cursor_ != nullptr) mdb_cursor_close(cursor_);
  }

  struct Item {
    std::string_view key;
    std::string_view value;
  };
  /// The first item, then the next with each call; nothing at the end. Views last as long as the
  /// transaction (a read transaction's) or until its next write.
  Result<std::optional<Item>> next();

 private:
  explicit Cursor(MDB_cursor* cursor) : cursor_(cursor) {}
  MDB_cursor* cursor_;
  bool started_ = false;
};

struct DatabaseInfo {
  bool main = false;
  std::string name;
  unsigned flags = 0;
  std::uint64_t items = 0;  // of main: without the records of named databases
  MDB_dbi dbi = 0;
};
/// The main database first, then every named one in name order. Handles stay open.
Result<std::vector<DatabaseInfo>> databases(Transaction& txn);
/// Whether this record of the main database is a named database rather than an item.
Result<bool> is_named_database(Transaction& txn, unsigned main_flags, const Cursor::Item& record);

/// Whether there is an environment with any item at this path. A file that is missing or empty has
/// none; a named database without items is none, and items that the rules keep do not count.
Result<bool> has_items(const std::string& path, bool subdirectory,
                       const update::KeepLocalRules& rules = {});

}  // namespace hotbackup::lmdb
