// SPDX-License-Identifier: Apache-2.0
// Who changed what, when: <state>/groups/<group>/commands.log, one JSON object a line.
#pragma once

#include "tools/hotbackup/command.h"

namespace hotbackup::cli {

/// Appends {time, user, uid, command}. The user is who logged in, also behind sudo.
Result<> log_command(const Session& session, const std::string& group_directory);

}  // namespace hotbackup::cli
