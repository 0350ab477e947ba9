// SPDX-License-Identifier: Apache-2.0
// The loss limit on the way from the configuration to the captured programs, and its incident.
#pragma once

#include "common/config/configuration.h"
#include "common/control/group.h"

namespace hotbackup::master {

/// As the control file and group.toml have it. `hotbackup init` asks for it too.
control::LossLimit loss_limit_of(const config::Group& configuration);

/// Raises or clears the incident as the exposure is now. Called once a check period: time passes
/// the limit without any commit, and captured programs raise but do not clear.
void watch_loss_limit(control::Group& group);

}  // namespace hotbackup::master
