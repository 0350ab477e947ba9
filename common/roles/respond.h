// SPDX-License-Identifier: Apache-2.0
// The slave server's answers to questions of other nodes. Blocks: for a thread beside the event
// loop.
#pragma once

#include <mutex>
#include <set>

#include "common/roles/change.h"
#include "common/roles/compare_child.h"

namespace hotbackup::roles {

/// One a server. Questions may be answered by several threads at once.
class Responder {
 public:
  /// Borrows the configuration.
  Responder(const config::Configuration& configuration, std::string program)
      : configuration_(configuration), program_(std::move(program)) {}

  wire::Answer answer(const wire::Ask& ask);
  /// Answered in no time: needs no turn after one that takes longer.
  static bool is_quick(const wire::Ask& ask) { return ask.kind == wire::Ask::Kind::kState; }
  /// Changes nothing that a change of roles rests on: it has a turn of its own.
  static bool is_comparison(const wire::Ask& ask) { return ask.kind == wire::Ask::Kind::kCompare; }

 private:
  Result<> check_asker(const wire::Ask& ask, const config::Group& settings,
                       control::Group& group) const;
  Result<> act(const Here& here, const wire::Ask& ask, wire::Answer& answer);
  Result<> take_over(const Here& here, const wire::Ask& ask, wire::Answer& answer);

  const config::Configuration& configuration_;
  const std::string program_;
  std::mutex mutex_;
  std::set<std::uint64_t> cancelled_;
  CompareChildren comparisons_;
};

}  // namespace hotbackup::roles
