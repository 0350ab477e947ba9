// SPDX-License-Identifier: Apache-2.0
#include "common/service/waiting_rules.h"

#include <spdlog/spdlog.h>

namespace hotbackup::service {

void warn_of_waiting_rules(const control::Group& group, const config::Group& configuration) {
  for (const config::Environment& environment : configuration.environments) {
    const auto rules = group.keep_local(environment.name);
    if (rules && *rules == environment.keep_local) continue;
    spdlog::warn(
        "{}: environment {}: keep_local in the configuration is not what is in force: "
        "type hotbackup init {} again",
        configuration.name, environment.name, configuration.name);
  }
}

}  // namespace hotbackup::service
