// SPDX-License-Identifier: Apache-2.0
// <group>/applied and <group>/seeding: what the copies hold for sure. docs/formats/applied.md.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/control/group.h"
#include "slave/apply_machine.h"

namespace hotbackup::slave {

/// What the file says, durably. Nothing when the file is missing; kCorrupt when it is not what this
/// program writes.
Result<std::optional<AppliedRange>> read_applied(const control::Group& group);
/// A node that was master applied nothing, it wrote: every environment holds what the journal does.
/// Waits until no program holds a write transaction that began then, settles what became of each
/// commit, syncs all of it and says so in the applied file. kBusy while a program does not let go.
Result<> settle_after_mastery(control::Group& group);
/// Durable when it returns.
Result<> write_applied(const control::Group& group, const AppliedRange& range);

/// Paths that an unfinished seed was about to replace; nothing when there is none.
Result<std::optional<std::vector<std::string>>> read_seeding(const control::Group& group);
Result<> write_seeding(const control::Group& group, const std::vector<std::string>& paths);
Result<> remove_seeding(const control::Group& group);

}  // namespace hotbackup::slave
