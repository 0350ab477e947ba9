// SPDX-License-Identifier: Apache-2.0
// Items of a snapshot into bodies of about the target size; a large value goes over several.
#pragma once

#include <string_view>

#include "common/lmdb/environment.h"
#include "common/update/codec.h"

namespace hotbackup::master {

/// Views of the item are borrowed until more() is false.
class ItemWriter {
 public:
  void add(update::BodyWriter& writer, const update::Database& database,
           const lmdb::Cursor::Item& item) {
    update::Operation operation{update::OperationKind::kPut, database, item.key, item.value, 0};
    if (item.value.size() > update::kValuePartBytes) {
      operation.kind = update::OperationKind::kPutLarge;
      operation.value_bytes = item.value.size();
      left_ = item.value;
    }
    writer.add(operation);
  }
  /// A large value has parts left: nothing else may come before they are added.
  bool more() const { return !left_.empty(); }
  /// Adds the next part; false when the body is too full for it.
  bool add_part(update::BodyWriter& writer, const update::Database& database,
                std::size_t body_bytes) {
    if (body_bytes != 0 && body_bytes + left_.size() > update::kBodyBytesTarget) return false;
    const std::string_view part = left_.substr(0, update::kValuePartBytes);
    writer.add({update::OperationKind::kValuePart, database, {}, part, 0});
    left_.remove_prefix(part.size());
    return true;
  }

 private:
  std::string_view left_;
};

}  // namespace hotbackup::master
