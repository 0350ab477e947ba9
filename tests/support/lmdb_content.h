// SPDX-License-Identifier: Apache-2.0
// Environments in tests: opened small, written and read in one line.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "common/lmdb/apply_operation.h"
#include "common/lmdb/content_digest.h"
#include "common/lmdb/environment.h"

namespace hotbackup::test {

inline lmdb::Environment open_environment(const std::string& path,
                                          std::uint64_t map_bytes = 64 << 20,
                                          bool subdirectory = false) {
  lmdb::OpenOptions options;
  options.path = path;
  options.subdirectory = subdirectory;
  options.map_bytes = map_bytes;
  options.no_sync = true;
  auto environment = lmdb::Environment::open(options);
  if (!environment) FAIL(environment.error().text());
  return std::move(*environment);
}

inline update::Database main_database(unsigned flags = 0) {
  return {true, {}, flags};
}
inline update::Database named(std::string_view name, unsigned flags = 0) {
  return {false, name, flags};
}

inline update::Operation put(update::Database database, std::string_view key,
                             std::string_view value) {
  return {update::OperationKind::kPut, database, key, value, 0};
}
inline update::Operation operation(update::OperationKind kind, update::Database database,
                                   std::string_view key = {}, std::string_view value = {}) {
  return {kind, database, key, value, 0};
}

/// "main: a=1 b=2 | names[4]: x=1 x=2": every database with its flags, every item.
inline std::string content(lmdb::Environment& environment) {
  auto txn = lmdb::Transaction::begin(environment, true);
  REQUIRE(txn);
  const auto all = lmdb::databases(*txn);
  REQUIRE(all);
  std::string text;
  for (const auto& database : *all) {
    if (!text.empty()) text += " | ";
    text += database.main ? "main" : database.name;
    if (database.flags != 0) text += "[" + std::to_string(database.flags) + "]";
    text += ":";
    auto cursor = lmdb::Cursor::open(*txn, database.dbi);
    REQUIRE(cursor);
    for (auto item = cursor->next(); item && *item; item = cursor->next()) {
      if (database.main && *lmdb::is_named_database(*txn, database.flags, **item)) continue;
      text += " " + std::string((*item)->key) + "=" + std::string((*item)->value.substr(0, 20));
    }
  }
  return text;
}

}  // namespace hotbackup::test
