// SPDX-License-Identifier: Apache-2.0
// What a master's environments are due to show, once the journal no longer says it.
#pragma once

#include "common/control/group.h"

namespace hotbackup::control {

/// Before a segment goes: of environments that nobody has written to since, it may hold the last
/// words. Into group.toml, durably; under the journal lock.
Result<> note_last_words(Group& group);

/// When this node becomes master: what was noted was of an earlier mastery.
Result<> forget_last_words(Group& group);

}  // namespace hotbackup::control
