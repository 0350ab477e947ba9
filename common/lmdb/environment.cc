// SPDX-License-Identifier: Apache-2.0
#include "common/lmdb/environment.h"

#include <unistd.h>

#include <mutex>

#include "common/lmdb/mappings.h"
#include "common/os/ownership.h"

namespace hotbackup::lmdb {

Error lmdb_error(std::string text, int rc) {
  ErrorCode code = ErrorCode::kIo;
  switch (rc) {
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
      code = ErrorCode::kNoSpace;
      break;
    case MDB_INVALID:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_PANIC:
      code = ErrorCode::kCorrupt;
      break;
    case MDB_VERSION_MISMATCH:
      code = ErrorCode::kVersion;
      break;
    case MDB_NOTFOUND:
    case ENOENT:
      code = ErrorCode::kNotFound;
      break;
    case MDB_READERS_FULL:
      code = ErrorCode::kBusy;
      break;
    default:
      break;
  }
  return Error(code, std::move(text) + ": " + mdb_strerror(rc), rc);
}

std::string data_file(const std::string& path, bool subdirectory) {
  return subdirectory ? path + "/data.mdb" : path;
}

std::string lock_file(const std::string& path, bool subdirectory) {
  return subdirectory ? path + "/lock.mdb" : path + "-lock";
}

namespace {

/// The lock file must be writable for everybody who may open the data file, also when the first to
/// come is a server running as another user.
void match_owner(const std::string& lock, const struct stat& data) {
  os::give(lock, {data.st_uid, data.st_gid, data.st_mode & 0777});
}

}  // namespace

Result<Environment> Environment::open(const OpenOptions& options) {
  Mappings& mappings = Mappings::instance();
  const std::lock_guard guard(mappings.lock);
  struct stat status {};
  struct stat lock_status {};
  const std::string lock = lock_file(options.path, options.subdirectory);
  const bool makes_lock = ::stat(lock.c_str(), &lock_status) != 0;
  if (::stat(data_file(options.path, options.subdirectory).c_str(), &status) == 0 &&
      mappings.find(status.st_dev, status.st_ino) != nullptr)
    return fail(ErrorCode::kBusy, "this process has environment " + options.path + " open already");

  Environment environment;
  environment.path_ = options.path;
  if (const int rc = mdb_env_create(&environment.env_); rc != 0)
    return fail_lmdb("opening environment " + options.path, rc);
  mdb_env_set_maxdbs(environment.env_, options.max_databases);
  if (options.max_readers != 0) mdb_env_set_maxreaders(environment.env_, options.max_readers);
  if (options.map_bytes != 0) mdb_env_set_mapsize(environment.env_, options.map_bytes);
  const unsigned flags =
      MDB_NOTLS | (options.subdirectory ? 0u : MDB_NOSUBDIR) |
      (options.read_only ? MDB_RDONLY : 0u) | (options.write_map ? MDB_WRITEMAP : 0u) |
      (options.no_sync ? MDB_NOSYNC : 0u) | (options.no_meta_sync ? MDB_NOMETASYNC : 0u);
  const int rc = mdb_env_open(environment.env_, options.path.c_str(), flags, options.mode);
  if (rc != 0) {
    mdb_env_close(std::exchange(environment.env_, nullptr));
    return fail_lmdb("opening environment " + options.path, rc);
  }
  if (::fstat(environment.file_descriptor(), &status) == 0) {
    environment.device_ = status.st_dev;
    environment.inode_ = status.st_ino;
    if (makes_lock) match_owner(lock, status);
  }
  mappings.open.push_back({environment.device_, environment.inode_});
  locate(mappings.open.back());
  return environment;
}

Environment::~Environment() {
  if (env_ == nullptr) return;
  Mappings& mappings = Mappings::instance();
  const std::lock_guard guard(mappings.lock);
  std::erase_if(mappings.open, [this](const Mapping& mapping) {
    return mapping.device == device_ && mapping.inode == inode_;
  });
  mdb_env_close(env_);
}

void Environment::swap(Environment& other) noexcept {
  std::swap(env_, other.env_);
  std::swap(path_, other.path_);
  std::swap(device_, other.device_);
  std::swap(inode_, other.inode_);
}

Environment::Info Environment::info() const {
  MDB_envinfo info{};
  MDB_stat stat{};
  mdb_env_info(env_, &info);
  mdb_env_stat(env_, &stat);
  return {info.me_mapsize, (info.me_last_pgno + 1) * stat.ms_psize, TxnId(info.me_last_txnid),
          stat.ms_psize};
}

Result<> Environment::set_map_bytes(std::uint64_t bytes) {
  Mappings& mappings = Mappings::instance();
  const std::lock_guard guard(mappings.lock);
  const int rc = mdb_env_set_mapsize(env_, bytes);
  if (Mapping* mapping = mappings.find(device_, inode_)) locate(*mapping);
  if (rc != 0) return fail_lmdb("mapping " + path_ + " anew", rc);
  return {};
}

Result<> Environment::sync() {
  if (const int rc = mdb_env_sync(env_, 1); rc != 0) return fail_lmdb("syncing " + path_, rc);
  return {};
}

void Environment::clear_dead_readers() {
  int dead = 0;
  mdb_reader_check(env_, &dead);
}

int Environment::file_descriptor() const {
  int fd = -1;
  mdb_env_get_fd(env_, &fd);
  return fd;
}

Result<Transaction> Transaction::begin(Environment& environment, bool read_only) {
  MDB_txn* txn = nullptr;
  const unsigned flags = read_only ? MDB_RDONLY : 0u;
  const int rc = mdb_txn_begin(environment.get(), nullptr, flags, &txn);
  if (rc != 0) return fail_lmdb("beginning a transaction in " + environment.path(), rc);
  Transaction begun(txn);
  // liblmdb keeps the main database's comparators for the process, of the flags it had when it was
  // opened last: another program, or a transaction that was aborted, may have had others.
  MDB_dbi main = 0;
  unsigned has = 0;
  mdb_dbi_open(txn, nullptr, 0, &main);
  mdb_dbi_flags(txn, main, &has);
  if ((has & MDB_DUPSORT) != 0 && has_opened_named(begun))
    return fail_lmdb("the main database of " + environment.path() + " has become DUPSORT",
                     MDB_INCOMPATIBLE);
  return begun;
}

// In the environment's user context, which is nobody else's.
int open_named(Transaction& txn, const std::string& name, unsigned flags, MDB_dbi* dbi) {
  static char opened;
  const int rc = mdb_dbi_open(txn.get(), name.c_str(), flags, dbi);
  if (rc == 0) mdb_env_set_userctx(mdb_txn_env(txn.get()), &opened);
  return rc;
}

bool has_opened_named(const Transaction& txn) {
  return mdb_env_get_userctx(mdb_txn_env(txn.get())) != nullptr;
}

Result<> Transaction::commit() {
  const int rc = mdb_txn_commit(std::exchange(txn_, nullptr));
  if (rc != 0) return fail_lmdb("committing", rc);
  return {};
}

Result<Cursor> Cursor::open(Transaction& txn, MDB_dbi dbi) {
  MDB_cursor* cursor = nullptr;
  const int rc = mdb_cursor_open(txn.get(), dbi, &cursor);
  if (rc != 0) return fail_lmdb("opening a cursor", rc);
  return Cursor(cursor);
}

Result<std::optional<Cursor::Item>> Cursor::next() {
  MDB_val key{};
  MDB_val value{};
  const int rc = mdb_cursor_get(cursor_, &key, &value, started_ ? MDB_NEXT : MDB_FIRST);
  started_ = true;
  if (rc == MDB_NOTFOUND) return std::nullopt;
  if (rc != 0) return fail_lmdb("reading an item", rc);
  return Item{to_view(key), to_view(value)};
}

}  // namespace hotbackup::lmdb
