// SPDX-License-Identifier: Apache-2.0
// Commands that a person named in the configuration, run at the end of a piece of work.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "common/base/ids.h"

namespace hotbackup::resync {

/// `sh -c command` with HOTBACKUP_GROUP, HOTBACKUP_NUMBER, HOTBACKUP_EVENT and `environment`
/// (NAME=VALUE) around it; kIo when it fails, kTimeout when it takes longer.
Result<> run_hook(const std::string& command, const std::string& event, const std::string& group,
                  UpdateNumber number, const std::vector<std::string>& environment = {},
                  std::chrono::seconds most = std::chrono::minutes(10));

}  // namespace hotbackup::resync
