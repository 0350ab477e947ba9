// SPDX-License-Identifier: Apache-2.0
// The slave server's answers to questions of other nodes. Blocks: for a thread beside the event
// loop.
#pragma once

#include <mutex>
#include <set>

#include "common/roles/change.h"

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

 private:
  Result<> check_asker(const wire::Ask& ask, const config::Group& settings,
                       control::Group& group) const;
  Result<> act(const Here& here, const wire::Ask& ask, wire::Answer& answer);
  Result<> take_over(const Here& here, const wire::Ask& ask, wire::Answer& answer);

  const config::Configuration& configuration_;
  const std::string program_;
  std::mutex mutex_;
  std::set<std::uint64_t> cancelled_;
};

}  // namespace hotbackup::roles
