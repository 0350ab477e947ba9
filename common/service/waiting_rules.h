// SPDX-License-Identifier: Apache-2.0
// Keep-local rules that were configured and are not in force, because `init` has not run since.
#pragma once

#include "common/config/configuration.h"
#include "common/control/group.h"

namespace hotbackup::service {

/// Logs a warning for each environment concerned.
void warn_of_waiting_rules(const control::Group& group, const config::Group& configuration);

}  // namespace hotbackup::service
