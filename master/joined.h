// SPDX-License-Identifier: Apache-2.0
// Environments that appear on a master whose slaves were seeded before.
#pragma once

#include <string>
#include <vector>

#include "common/config/configuration.h"
#include "common/control/group.h"

namespace hotbackup::master {

/// Lets join what has appeared at configured places. Where something came with data, slaves that
/// were not seeded since lose their claim, so that their next link begins with a seed: their names,
/// for links that are up to be ended.
Result<std::vector<std::string>> take_in_what_appeared(control::Group& group,
                                                       const config::Group& configuration);

}  // namespace hotbackup::master
