// SPDX-License-Identifier: Apache-2.0
// What an environment holds, as short values that two copies can be compared by.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/lmdb/environment.h"

namespace hotbackup::lmdb {

/// `sum` is the sum modulo 2^128 of XXH3-128 over each (key length, key, value): independent of the
/// order of items, so of comparators and page layout.
struct DatabaseDigest {
  bool main = false;
  std::string name;
  unsigned flags = 0;
  std::uint64_t items = 0;
  ChainHash sum;
  bool operator==(const DatabaseDigest&) const = default;
};

using ContentDigest = std::vector<DatabaseDigest>;  // main first, then by name

/// Adds items to a digest, one at a time.
class ItemDigest {
 public:
  ItemDigest();
  ~ItemDigest();
  void add(DatabaseDigest& database, std::string_view key, std::string_view value);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// All databases in one read transaction. What the rules keep counts for nothing, nor that a
/// database is there which only they fill.
Result<ContentDigest> digest(Environment& environment, const update::KeepLocalRules& rules = {});

}  // namespace hotbackup::lmdb
