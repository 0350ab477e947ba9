// SPDX-License-Identifier: Apache-2.0
// Who changed what, when: <state>/groups/<group>/commands.log, one JSON object a line.
#pragma once

#include "tools/hotbackup/command.h"

namespace hotbackup::cli {

/// Who logged in, also behind sudo.
std::string user_name();

/// Appends {time, user, uid, command}.
Result<> log_command(const Session& session, const std::string& group_directory);

}  // namespace hotbackup::cli
