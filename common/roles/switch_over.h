// SPDX-License-Identifier: Apache-2.0
// The planned change of roles, as the master does it: nothing is lost, and what does not work out
// is undone. DESIGN section 9; docs/operating/roles.md.
#pragma once

#include "common/roles/change.h"

namespace hotbackup::roles {

struct Switched {
  Epoch epoch;
  UpdateNumber number;  // the last one of the old master
  double pause_ms = 0;  // from the closing of the gate here to the opening of the other
  std::vector<Step> steps;
  std::string needs_you;  // a hook that failed; "": none
};

/// Hands the group over to `to`. On an error this node is master as before and its writers go on,
/// but for kDisconnected: then `to` was told to take over and cannot be asked whether it did.
Result<Switched> switch_over(const Here& here, const std::string& to, bool compare);

}  // namespace hotbackup::roles
