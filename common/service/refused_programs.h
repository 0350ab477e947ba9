// SPDX-License-Identifier: Apache-2.0
// Programs that may read an environment of the group and not write it, from where they run:
// incident HB-pid-namespace.
#pragma once

#include "common/control/group.h"

namespace hotbackup::service {

/// Clears the incident of a program that has gone or let go of the group's files. Looks through all
/// of /proc while one is open, else costs nothing.
void forget_refused_programs(control::Group& group);

}  // namespace hotbackup::service
