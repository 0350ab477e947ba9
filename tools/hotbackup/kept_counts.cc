// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/kept_counts.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "tools/hotbackup/disk.h"

namespace hotbackup::cli {
namespace {

Result<lmdb::Environment> open_to_read(const std::string& path, bool subdirectory) {
  lmdb::OpenOptions options;
  options.path = path;
  options.subdirectory = subdirectory;
  options.read_only = true;
  return lmdb::Environment::open(options);
}

Result<> give_as(const struct stat& like, const std::string& file) {
  if (::lchown(file.c_str(), like.st_uid, like.st_gid) != 0 && errno != EPERM)
    return fail_errno("setting the owner of " + file);
  if (::chmod(file.c_str(), like.st_mode & 0777) != 0)
    return fail_errno("setting the mode of " + file);
  return {};
}

}  // namespace

void KeptCounts::add(const KeptCounts& other) {
  items.resize(std::max(items.size(), other.items.size()));
  met.resize(std::max(met.size(), other.met.size()));
  for (std::size_t i = 0; i < other.items.size(); ++i) {
    items[i] += other.items[i];
    if (other.met[i]) met[i] = true;
  }
}

std::vector<std::string> KeptCounts::idle(const update::KeepLocalRules& rules) const {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < rules.rules().size(); ++i)
    if (i >= met.size() || !met[i]) texts.push_back(rules.rules()[i].text());
  return texts;
}

Result<KeptCounts> kept_counts(lmdb::Transaction& txn, const lmdb::DatabaseInfo& database,
                               bool has_named, const update::KeepLocalRules& rules) {
  KeptCounts counts;
  HOTBACKUP_ASSIGN(counts.items, lmdb::count_kept(txn, database, has_named, rules));
  for (std::size_t i = 0; i < counts.items.size(); ++i) {
    const update::KeepLocalRule& rule = rules.rules()[i];
    counts.met.push_back(counts.items[i] != 0 ||
                         (rule.whole && !database.main && rule.database == database.name));
  }
  return counts;
}

Result<KeptCounts> kept_counts(const std::string& path, bool subdirectory,
                               const update::KeepLocalRules& rules) {
  const LockFileKeeper keeper(path, subdirectory);
  HOTBACKUP_ASSIGN(auto environment, open_to_read(path, subdirectory));
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment, /*read_only=*/true));
  HOTBACKUP_ASSIGN(const auto databases, lmdb::databases(txn));
  KeptCounts total;
  for (const lmdb::DatabaseInfo& database : databases) {
    HOTBACKUP_ASSIGN(const auto counts, kept_counts(txn, database, databases.size() > 1, rules));
    total.add(counts);
  }
  return total;
}

Result<> carry_over_kept(const std::string& from, const std::string& path, bool subdirectory,
                         const update::KeepLocalRules& rules) {
  if (rules.empty()) return {};
  HOTBACKUP_ASSIGN(const auto counts, kept_counts(from, subdirectory, rules));
  if (std::find(counts.met.begin(), counts.met.end(), true) == counts.met.end()) return {};
  struct stat like {};
  if (::stat(lmdb::data_file(from, subdirectory).c_str(), &like) != 0)
    return fail_errno("cannot look at " + from);
  HOTBACKUP_ASSIGN(auto old, open_to_read(from, subdirectory));
  lmdb::OpenOptions options;
  options.path = path;
  options.subdirectory = subdirectory;
  options.map_bytes = old.info().map_bytes;
  options.mode = like.st_mode & 0777;
  HOTBACKUP_ASSIGN(auto made, lmdb::Environment::open(options));
  HOTBACKUP_TRY(lmdb::copy_kept(old, made, rules));
  HOTBACKUP_TRY(give_as(like, lmdb::data_file(path, subdirectory)));
  return give_as(like, lmdb::lock_file(path, subdirectory));
}

}  // namespace hotbackup::cli
