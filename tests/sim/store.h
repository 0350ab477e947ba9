// SPDX-License-Identifier: Apache-2.0
// A model of one LMDB environment: items, whole transactions, and what a power loss may take when
// the meta page is not synced with each commit: the last transaction, and never more.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "common/base/bytes.h"
#include "common/base/ids.h"
#include "common/update/operation.h"

namespace hotbackup::sim {

/// Items, and a number that two stores share only if they hold the same.
struct Content {
  std::map<std::string, std::string> items;
  std::uint64_t digest = 0;

  void put(const std::string& key, const std::string& value) {
    erase(key);
    items[key] = value;
    digest += weight(key, value);
  }
  void erase(const std::string& key) {
    const auto found = items.find(key);
    if (found == items.end()) return;
    digest -= weight(key, found->second);
    items.erase(found);
  }
  void apply(const update::Operation& operation) {
    const std::string key(operation.key);
    switch (operation.kind) {
      case update::OperationKind::kPut:
        return put(key, std::string(operation.value));
      case update::OperationKind::kDeleteKey:
        return erase(key);
      case update::OperationKind::kClear:
        items.clear();
        digest = 0;
        return;
      default:  // kCreate: there is one database
        return;
    }
  }

 private:
  static std::uint64_t weight(const std::string& key, const std::string& value) {
    return hash64(key + '\0' + value);
  }
};

/// Committed content with its txnid, and the one before, to which a power loss may go back.
class Store {
 public:
  const Content& content() const { return now_.content; }
  std::uint64_t txnid() const { return now_.txnid; }
  /// The update through which it was brought, as its owner noted.
  UpdateNumber number() const { return now_.number; }
  void note_number(UpdateNumber number) { now_.number = number; }

  void commit(Content content) {
    before_ = std::move(now_);
    now_ = {std::move(content), before_->txnid + 1, before_->number};
  }
  void sync() { before_.reset(); }
  bool synced() const { return !before_.has_value(); }
  /// Back to the transaction before, where the last one is not synced.
  void lose_last() {
    if (before_) now_ = std::move(*before_);
    before_.reset();
  }

 private:
  struct State {
    Content content;
    std::uint64_t txnid = 0;
    UpdateNumber number;
  };
  State now_;
  std::optional<State> before_;
};

}  // namespace hotbackup::sim
