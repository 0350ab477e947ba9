// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "common/roles/peers.h"

namespace hotbackup::cli {

/// The open orphans from … to of the newest set become new updates of the master that this node is,
/// also over what was changed meanwhile. Stops at the first that does not.
Result<> apply_orphans(const roles::Here& here, UpdateNumber from, UpdateNumber to);

}  // namespace hotbackup::cli
