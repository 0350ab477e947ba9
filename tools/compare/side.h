// SPDX-License-Identifier: Apache-2.0
// Answers the questions of a comparison about one node's copies: in this process, or through a
// peer's slave server. The questions are proto/hotbackup.proto, message CompareAsk.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/config/configuration.h"
#include "common/wire/compare_message.h"
#include "tools/compare/scan.h"
#include "tools/compare/snapshots.h"

namespace hotbackup::compare {

class Side {
 public:
  virtual ~Side() = default;
  /// Takes about a second at most; `more` in the answer: the same question again.
  virtual Result<wire::CompareAnswer> ask(const wire::CompareAsk& ask) = 0;
};

class LocalSide final : public Side {
 public:
  LocalSide(control::Group& group, const config::Group& settings)
      : group_(group), settings_(settings), snapshots_(group) {}
  Result<wire::CompareAnswer> ask(const wire::CompareAsk& ask) override;

 private:
  struct Kept {
    ChainHash key_hash;
    ChainHash item_hash;
    std::string_view key;
  };
  struct Place {
    master::CutEnvironment* environment = nullptr;
    lmdb::DatabaseInfo info;
    bool has_named = false;
  };
  Result<> list();
  void forget();
  Result<wire::CompareAnswer> hold(const wire::CompareAsk& ask);
  Result<wire::CompareAnswer> databases(const wire::CompareAsk& ask);
  Result<wire::CompareAnswer> hash(const wire::CompareAsk& ask);
  Result<wire::CompareAnswer> nodes(const wire::CompareAsk& ask);
  Result<wire::CompareAnswer> collect(const wire::CompareAsk& ask);
  Result<wire::CompareAnswer> items(const wire::CompareAsk& ask);
  Result<wire::CompareAnswer> reveal(const wire::CompareAsk& ask);
  Result<wire::CompareAnswer> fetch(const wire::CompareAsk& ask);
  Result<wire::CompareAnswer> repair(const wire::CompareAsk& ask);
  Result<wire::CompareAnswer> report(const wire::CompareAsk& ask);
  Result<wire::CompareAnswer> echo(const wire::CompareAsk& ask);
  Result<wire::CompareAnswer> conclude(const wire::CompareAsk& ask);
  Result<Scan> scan(const Place& place);

  control::Group& group_;
  const config::Group& settings_;
  Snapshots snapshots_;
  bool listed_ = false;
  std::vector<Place> places_;
  std::optional<Place> place_;  // of the tree
  std::optional<Scan> scan_;
  std::optional<HashTree> tree_;
  std::vector<bool> wanted_;  // leaves, while their items are collected
  std::vector<Kept> kept_;
};

/// What `hotbackup compare-side` does: answers the blocks that come over the socket until it ends
/// or nobody asks any more.
Result<> serve_side(control::Group& group, const config::Group& settings, int fd);

}  // namespace hotbackup::compare
