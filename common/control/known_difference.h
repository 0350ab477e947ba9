// SPDX-License-Identifier: Apache-2.0
// What a comparison found: a copy is not what its master has. Kept in <group>/applying, so that it
// is known after a reboot too, until the copy is proved equal or seeded.
#pragma once

#include <string>
#include <string_view>

#include "common/control/group.h"

namespace hotbackup::control {

/// Raises HB-copy-differs. `copy` is the slave's name on its master, and "" on the slave itself.
Result<> note_difference(Group& group, std::string_view copy, const std::string& text);
/// On a master: that copy was proved equal, or seeded.
Result<> forget_difference(Group& group, std::string_view copy);

}  // namespace hotbackup::control
