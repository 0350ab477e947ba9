// SPDX-License-Identifier: Apache-2.0
// Settles the fate of updates whose writer died between its journal append and the end of its
// commit. The next writer does it as it begins (CAPTURE section 2.0); where none comes, the queue
// would wait for ever, and so the master server looks as well.
#pragma once

#include "common/control/group.h"

namespace hotbackup::master {

/// Clears each open slot whose process is dead: published when LMDB has its transaction, else
/// voided first. Blocks while another program of the group is in a write transaction there. An
/// environment that this process has open (a seed runs) is left for the next call.
Result<> resolve_dead_slots(control::Group& group);

}  // namespace hotbackup::master
