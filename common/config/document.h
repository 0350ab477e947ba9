// SPDX-License-Identifier: Apache-2.0
// A TOML document as a plain tree with the place of everything in it. The TOML library stays behind
// document.cc: it is large, and what it throws or limits is nobody else's concern.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/error.h"
#include "common/config/configuration.h"

namespace hotbackup::config {

struct Entry;
struct Value;

struct Table {
  Mark at;
  std::vector<Entry> entries;  // sorted by key

  /// Null if there is no such key.
  const Entry* find(std::string_view key) const;
};
using Array = std::vector<Value>;
/// Dates and times: no setting is one.
struct Date {};

struct Value {
  Mark at;
  std::variant<std::string, std::int64_t, double, bool, Date, Array, Table> data;

  /// "a string", "a table" …: for messages.
  std::string_view type_name() const;
};

struct Entry {
  std::string key;
  Mark at;
  Value value;
};

/// Errors are kConfig: "SOURCE:LINE:COLUMN: …".
Result<Table> parse_document(std::string_view text, std::string_view source);

/// "SOURCE:LINE:COLUMN: text", in one line.
std::string located(std::string_view source, Mark at, std::string_view text);

}  // namespace hotbackup::config
