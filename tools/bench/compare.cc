// SPDX-License-Identifier: Apache-2.0
// How fast a comparison reads: the hashing scan of one database against a plain cursor scan of the
// same, warm, a core's time. hotbackup-bench-compare PATH ITEMS VALUE_BYTES
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "tools/compare/scan.h"

namespace {

using namespace hotbackup;

constexpr int kRounds = 5;

/// Of this process: what else runs on the machine does not count.
double cpu_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

Result<> fill(lmdb::Environment& environment, std::uint64_t items, std::size_t bytes) {
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment, /*read_only=*/false));
  MDB_dbi dbi = 0;
  if (const int rc = mdb_dbi_open(txn.get(), "items", MDB_CREATE, &dbi); rc != 0)
    return lmdb::fail_lmdb("making the database", rc);
  std::string value(bytes, 'x');
  for (std::uint64_t i = 0; i < items; ++i) {
    char key[17];
    std::snprintf(key, sizeof key, "%016llx", static_cast<unsigned long long>(i));
    std::snprintf(value.data(), value.size(), "%llu", static_cast<unsigned long long>(i * 7919));
    MDB_val k{16, key};
    MDB_val v{value.size(), value.data()};
    if (const int rc = mdb_put(txn.get(), dbi, &k, &v, MDB_APPEND); rc != 0)
      return lmdb::fail_lmdb("filling the database", rc);
  }
  return txn.commit();
}

Result<double> plain(lmdb::Transaction& txn, const lmdb::DatabaseInfo& info) {
  const double begun = cpu_seconds();
  MDB_cursor* cursor = nullptr;
  if (const int rc = mdb_cursor_open(txn.get(), info.dbi, &cursor); rc != 0)
    return lmdb::fail_lmdb("opening a cursor", rc);
  MDB_val key{};
  MDB_val value{};
  while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
  }
  mdb_cursor_close(cursor);
  return cpu_seconds() - begun;
}

Result<double> hashed(lmdb::Transaction& txn, const lmdb::DatabaseInfo& info,
                      std::uint64_t& bytes) {
  const double begun = cpu_seconds();
  const update::KeepLocalRules none;
  HOTBACKUP_ASSIGN(auto scan, compare::Scan::open(txn, info, none, /*has_named=*/true));
  compare::HashTree tree(compare::HashTree::bits_for(info.items));
  for (;;) {
    HOTBACKUP_ASSIGN(const auto item, scan.next());
    if (!item) break;
    tree.add_item(item->key_hash, compare::hash_item(item->key_hash, item->value));
  }
  bytes = scan.bytes();
  return cpu_seconds() - begun;
}

Result<> run(const char* path, std::uint64_t items, std::size_t value_bytes) {
  lmdb::OpenOptions options;
  options.path = path;
  options.map_bytes = std::uint64_t{16} << 30;
  options.no_sync = true;
  HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
  HOTBACKUP_TRY(fill(environment, items, value_bytes));
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment, /*read_only=*/true));
  HOTBACKUP_ASSIGN(const auto all, lmdb::databases(txn));
  std::uint64_t bytes = 0;
  double best_plain = 1e9;
  double best_hashed = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    HOTBACKUP_ASSIGN(const double one, plain(txn, all.back()));
    HOTBACKUP_ASSIGN(const double other, hashed(txn, all.back(), bytes));
    best_plain = std::min(best_plain, one);
    best_hashed = std::min(best_hashed, other);
  }
  const double gigabytes = static_cast<double>(bytes) / 1e9;
  std::printf("%llu items, %.2f GB: plain scan %.2f GB/s, hashed %.2f GB/s, ratio %.2f\n",
              static_cast<unsigned long long>(items), gigabytes, gigabytes / best_plain,
              gigabytes / best_hashed, best_plain / best_hashed);
  return {};
}

}  // namespace

int main(int count, char** words) {
  if (count != 4) {
    std::fprintf(stderr, "usage: hotbackup-bench-compare DIRECTORY ITEMS VALUE_BYTES\n");
    return 2;
  }
  const auto done =
      run(words[1], std::strtoull(words[2], nullptr, 10), std::strtoull(words[3], nullptr, 10));
  if (!done) std::fprintf(stderr, "%s\n", done.error().text().c_str());
  return done ? 0 : 1;
}
