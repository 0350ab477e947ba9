// SPDX-License-Identifier: Apache-2.0
// What is wrong with a configuration on this machine, for --check, and how a server says it: a
// stable code and a sentence in one line.
#pragma once

#include <string>
#include <vector>

#include "common/config/configuration.h"

namespace hotbackup::service {

/// "HB-config: FILE:12:8: group dns: there is no user …", a line each.
std::vector<std::string> find_problems(const config::Configuration& configuration);

std::string coded(const Error& error);
std::string in_one_line(std::string text);

}  // namespace hotbackup::service
