// SPDX-License-Identifier: Apache-2.0
// What orphans have touched, as requests to the master: bodies of operations that undo it here, and
// that the master answers with what belongs there. docs/decisions/0031-rejoin.md.
#pragma once

#include <string>
#include <vector>

#include "common/control/group.h"
#include "slave/record_file.h"

namespace hotbackup::slave {

/// Adds a request for everything that the updates of these sets touched: kDeleteKey for a key,
/// kDrop for a database that was made, emptied or deleted, kClear of the main database where all of
/// an environment was. Whole databases come first, so that an item of the main database finds its
/// place free. Voids count too: nothing is lost by asking. Memory does not grow with the sets: a
/// key that comes again much later is asked for again. kRefused for what cannot be undone.
Result<> collect_touched(control::Group& group, const std::vector<std::string>& sets,
                         RecordFile& wanted);

}  // namespace hotbackup::slave
