// SPDX-License-Identifier: Apache-2.0
// What an update consists of. All views borrow: they are valid as long as the body they came from.
#pragma once

#include <cstdint>
#include <string_view>

namespace hotbackup::update {

/// Numbers as in proto/hotbackup.proto, message Operation.
enum class OperationKind : std::uint32_t {
  kPut = 0,
  kPutLarge = 1,
  kValuePart = 2,
  kDeleteKey = 3,
  kDeletePair = 4,
  kCreate = 5,
  kClear = 6,
  kDrop = 7,
};

/// "put", "delete", …: stable names for logs and JSON.
std::string_view operation_kind_name(OperationKind kind);

struct Database {
  bool main = false;        // the unnamed main database
  std::string_view name;    // empty for main
  std::uint32_t flags = 0;  // LMDB's persistent flags
};

struct Operation {
  OperationKind kind = OperationKind::kPut;
  Database database;
  std::string_view key;
  std::string_view value;
  std::uint64_t value_bytes = 0;  // of a kPutLarge: the whole value's length
};

}  // namespace hotbackup::update
