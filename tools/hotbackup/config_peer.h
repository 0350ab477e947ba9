// SPDX-License-Identifier: Apache-2.0
// hotbackup config --peer: where two nodes configure a group otherwise.
#pragma once

#include "tools/hotbackup/command.h"

namespace hotbackup::cli {

/// Asks every peer of every group; exit 4 when something differs, 1 when one did not answer.
Result<int> compare_configurations(const Session& session,
                                   const config::Configuration& configuration);

}  // namespace hotbackup::cli
