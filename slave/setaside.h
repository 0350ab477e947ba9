// SPDX-License-Identifier: Apache-2.0
// Updates that cannot be applied, kept for a person to look at: <group>/setaside, its frames as
// they lie in the journal and a description. docs/formats/applied.md.
#pragma once

#include <string>

#include "common/base/ids.h"
#include "common/control/group.h"

namespace hotbackup::slave {

struct SetAside {
  UpdateNumber number;
  std::string environment;  // printable; empty where the error is not one operation's
  std::string database;
  std::string key;
  std::string error;
};

/// Durable when it returns; done again it replaces what is there. Reads the update from the
/// journal.
Result<> set_aside(control::Group& group, const SetAside& update);
/// It was applied after all. Nothing there is no error.
Result<> remove_set_aside(control::Group& group, UpdateNumber number);
/// The one that waits for retry or skip has been applied when everything through `applied` is:
/// then it goes.
Result<> remove_applied_set_aside(control::Group& group, UpdateNumber applied);

/// After a seed: the copies are the master's again, and what was set aside is in them.
Result<> forget_doubts(control::Group& group);

}  // namespace hotbackup::slave
