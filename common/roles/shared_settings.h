// SPDX-License-Identifier: Apache-2.0
// What one node tells another of a group's configuration: what both should have equal. Commands and
// paths belong to a site and never travel.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "common/config/configuration.h"

namespace hotbackup::roles {

/// In the body of a question of kind kState: the answer's report is to hold shared_settings.
inline constexpr char kAsksSettings[] = "settings";

/// An object: keys as in [[group]], and "env NAME keep_local" of each environment.
nlohmann::ordered_json shared_settings(const config::Configuration& configuration,
                                       const config::Group& settings);

/// What differs, key by key; a peer's answer may be anything.
struct Difference {
  std::string key;
  std::string here;  // JSON; empty where it is not there
  std::string there;
};
std::vector<Difference> differences(const nlohmann::ordered_json& here,
                                    const nlohmann::ordered_json& there);

}  // namespace hotbackup::roles
