// SPDX-License-Identifier: Apache-2.0
// A slave's copies from a save instead of from its master: a seed that came by hand. The stream, or
// volumes, go on from its number.
#pragma once

#include "tools/resync/restore.h"

namespace hotbackup::resync {

/// kFenced while the slave server runs; kRefused for another group's save, and where the copies
/// hold items that are not known to be this group's (or are, without `replace`).
Result<Restored> restore_on_slave(control::Group& group, const Chain& chain, const Target& target,
                                  const std::string& filter, bool replace);

}  // namespace hotbackup::resync
