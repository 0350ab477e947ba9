// SPDX-License-Identifier: Apache-2.0
// What the keep-local rules meet on disk: for `scope`, and for the warning about a rule that meets
// nothing. Also what `init --replace` does with items that are this site's own.
#pragma once

#include <string>
#include <vector>

#include "common/lmdb/kept_items.h"

namespace hotbackup::cli {

/// By rule, in their order.
struct KeptCounts {
  std::vector<std::uint64_t> items;
  std::vector<bool> met;  // an item, or the database itself, is there

  void add(const KeptCounts& other);
  /// Texts of the rules that have met nothing.
  std::vector<std::string> idle(const update::KeepLocalRules& rules) const;
};

/// Of one database; reads it whole where rules reach it.
Result<KeptCounts> kept_counts(lmdb::Transaction& txn, const lmdb::DatabaseInfo& database,
                               bool has_named, const update::KeepLocalRules& rules);
/// Of an environment that has data.
Result<KeptCounts> kept_counts(const std::string& path, bool subdirectory,
                               const update::KeepLocalRules& rules);

/// Makes the environment at `path` anew with what the rules keep of the one at `from`, and its
/// owner and mode; nothing is made where nothing is kept.
Result<> carry_over_kept(const std::string& from, const std::string& path, bool subdirectory,
                         const update::KeepLocalRules& rules);

}  // namespace hotbackup::cli
