// SPDX-License-Identifier: Apache-2.0
// Keep-local items where they lie: emptying around them, carrying them over, counting them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/lmdb/environment.h"
#include "common/update/keep_local.h"

namespace hotbackup::lmdb {

/// Deletes every item of the database that no rule keeps; records of named databases in the main
/// one stay. True when kept items are left. One item at a time: for databases that rules reach.
Result<bool> clear_but_kept(Transaction& txn, MDB_dbi dbi, const update::Database& database,
                            const update::KeepLocalRules& rules);

/// The kept items of a database, in order.
Result<std::vector<std::pair<std::string, std::string>>> kept_items(
    Transaction& txn, MDB_dbi dbi, const update::Database& database,
    const update::KeepLocalRules& rules);

/// Puts everything in `from` that the rules keep into `to`, which is empty. False when there is
/// nothing of the kind; then `to` is unchanged.
Result<bool> copy_kept(Environment& from, Environment& to, const update::KeepLocalRules& rules);

/// How many items of a database each rule keeps (the first that does counts), in the order of the
/// rules; each duplicate is one. Reads the whole database.
Result<std::vector<std::uint64_t>> count_kept(Transaction& txn, const DatabaseInfo& database,
                                              bool has_named, const update::KeepLocalRules& rules);

}  // namespace hotbackup::lmdb
