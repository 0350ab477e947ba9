// SPDX-License-Identifier: Apache-2.0
// What really happened on the master, told by the model and not read from what is tested: every
// update, its fate, and from it the content that each environment has at each published number.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "common/journal/frame.h"
#include "tests/sim/store.h"
#include "tests/sim/world.h"

namespace hotbackup::sim {

/// One operation that owns its bytes.
struct Change {
  update::OperationKind kind = update::OperationKind::kPut;
  std::string key;
  std::string value;
  update::Operation operation() const { return {kind, {true, {}, 0}, key, value, 0}; }
};

class Truth {
 public:
  Truth(World& world, std::size_t environments);

  enum class Fate { kOpen, kCommitted, kVoid };
  struct Update {
    std::uint32_t environment = 0;  // index; meaningless for a control frame
    std::uint64_t txnid = 0;        // 0: a control frame
    std::vector<Change> changes;
    Fate fate = Fate::kOpen;
    ChainHash chain;
    bool told = false;  // its caller was told that it is committed
  };

  void appended(UpdateNumber number, Update update);
  /// The environment shows it, or never will.
  void decided(UpdateNumber number, bool committed);
  void told(UpdateNumber number, bool committed);
  /// The watermark has moved: from here on nothing of this changes any more.
  void publish(UpdateNumber through);
  /// After a power loss of the master: its journal now ends here.
  void cut(UpdateNumber made, const ChainHash& chain);

  UpdateNumber made() const { return UpdateNumber(updates_.size()); }
  UpdateNumber published() const { return UpdateNumber(digests_.size() - 1); }
  const Update& at(UpdateNumber number) const { return updates_[number.value - 1]; }
  /// Of a published number.
  ChainHash chain_at(UpdateNumber number) const;
  std::uint64_t digest_at(UpdateNumber number, std::size_t environment) const {
    return digests_[number.value][environment];
  }
  std::size_t environments() const { return content_.size(); }
  const Content& content(std::size_t environment) const { return content_[environment]; }
  void set_first_chain(const ChainHash& chain) { first_chain_ = chain; }

 private:
  World& world_;
  ChainHash first_chain_;
  std::vector<Update> updates_;
  std::vector<Content> content_;                     // at published()
  std::vector<std::vector<std::uint64_t>> digests_;  // by number, by environment
};

}  // namespace hotbackup::sim
