// SPDX-License-Identifier: Apache-2.0
// Which databases an environment has.
#include "common/lmdb/environment.h"
#include "common/lmdb/kept_items.h"
#include "common/lmdb/resident_limit.h"

namespace hotbackup::lmdb {
namespace {

// What LMDB keeps in the main database for a named one: its MDB_db structure.
constexpr std::size_t kRecordBytes = 48;
constexpr std::uint64_t kItemsBetweenTrims = 4096;

Result<DatabaseInfo> describe(Transaction& txn, MDB_dbi dbi) {
  DatabaseInfo info;
  MDB_stat stat{};
  if (const int rc = mdb_stat(txn.get(), dbi, &stat); rc != 0)
    return fail_lmdb("reading a database's size", rc);
  if (const int rc = mdb_dbi_flags(txn.get(), dbi, &info.flags); rc != 0)
    return fail_lmdb("reading a database's flags", rc);
  info.flags &= kDatabaseFlags;
  info.items = stat.ms_entries;
  info.dbi = dbi;
  return info;
}

}  // namespace

Result<bool> is_named_database(Transaction& txn, unsigned main_flags, const Cursor::Item& record) {
  if ((main_flags & (MDB_DUPSORT | MDB_INTEGERKEY)) != 0) return false;
  if (record.value.size() != kRecordBytes) return false;
  if (record.key.find('\0') != std::string_view::npos) return false;
  MDB_dbi dbi = 0;
  const int rc = open_named(txn, std::string(record.key), 0, &dbi);
  if (rc == 0) return true;
  if (rc == MDB_INCOMPATIBLE || rc == MDB_NOTFOUND) return false;
  return fail_lmdb("opening database " + std::string(record.key), rc);
}

Result<std::vector<DatabaseInfo>> databases(Transaction& txn) {
  MDB_dbi main = 0;
  if (const int rc = mdb_dbi_open(txn.get(), nullptr, 0, &main); rc != 0)
    return fail_lmdb("opening the main database", rc);
  HOTBACKUP_ASSIGN(auto main_info, describe(txn, main));
  main_info.main = true;
  std::vector<DatabaseInfo> all{main_info};
  HOTBACKUP_ASSIGN(auto cursor, Cursor::open(txn, main));
  std::uint64_t looked = 0;
  for (;;) {
    HOTBACKUP_ASSIGN(const auto record, cursor.next());
    if (!record) break;
    if (++looked % kItemsBetweenTrims == 0) trim_resident();
    HOTBACKUP_ASSIGN(const bool named, is_named_database(txn, main_info.flags, *record));
    if (!named) continue;
    MDB_dbi dbi = 0;
    const std::string name(record->key);
    if (const int rc = open_named(txn, name, 0, &dbi); rc != 0)
      return fail_lmdb("opening database " + name, rc);
    HOTBACKUP_ASSIGN(auto info, describe(txn, dbi));
    info.name = name;
    all.push_back(std::move(info));
    --all.front().items;
  }
  return all;
}

Result<bool> has_items(const std::string& path, bool subdirectory,
                       const update::KeepLocalRules& rules) {
  struct stat status {};
  if (::stat(data_file(path, subdirectory).c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return fail_errno("looking at " + path);
  }
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::kConfig, path + " is not a data file");
  if (status.st_size == 0) return false;
  OpenOptions options;
  options.path = path;
  options.subdirectory = subdirectory;
  options.read_only = true;
  HOTBACKUP_ASSIGN(auto environment, Environment::open(options));
  HOTBACKUP_ASSIGN(auto txn, Transaction::begin(environment, /*read_only=*/true));
  HOTBACKUP_ASSIGN(const auto all, databases(txn));
  for (const DatabaseInfo& database : all) {
    std::uint64_t kept = 0;
    HOTBACKUP_ASSIGN(const auto counts, count_kept(txn, database, all.size() > 1, rules));
    for (const std::uint64_t count : counts) kept += count;
    if (database.items != kept) return true;
  }
  return false;
}

}  // namespace hotbackup::lmdb
