// SPDX-License-Identifier: Apache-2.0
// What both servers ask of the groups that are configured.
#pragma once

#include <string>

#include "common/base/error.h"

namespace hotbackup::service {

/// A group that cannot be served at present, which is no error of the server: it waits for the
/// administrator (init, a role), for room, or for a disk that fails.
bool may_come_later(const Error& error);
/// Once each reason: `said` is the last one.
void log_not_served(const std::string& group, const Error& error, std::string& said);

}  // namespace hotbackup::service
