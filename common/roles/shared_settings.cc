// SPDX-License-Identifier: Apache-2.0
#include "common/roles/shared_settings.h"

#include <nlohmann/json.hpp>
#include <set>

namespace hotbackup::roles {
namespace {

using nlohmann::ordered_json;

constexpr const char* kShared[] = {
    "user",        "mode",          "loss_limit", "at_limit",        "wait_max",
    "wait_for",    "lease",         "boot_wait",  "rejoin",          "check_period",
    "test_period", "apply",         "rpo",        "keep_journal",    "segment_size",
    "acknowledge", "journal_limit", "rto",        "at_journal_limit"};

std::string text_of(const ordered_json& object, const std::string& key) {
  const auto at = object.find(key);
  return at == object.end() ? std::string()
                            : at->dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace

ordered_json shared_settings(const config::Configuration& configuration,
                             const config::Group& settings) {
  ordered_json shared;
  const ordered_json all = config::to_json(configuration);
  for (const ordered_json& group : all.at("group")) {
    if (group.at("name") != settings.name) continue;
    for (const char* key : kShared)
      if (group.contains(key)) shared[key] = group[key];
    for (const ordered_json& environment : group.at("env"))
      shared["env " + environment.at("name").get<std::string>() + " keep_local"] =
          environment.at("keep_local");
  }
  return shared;
}

std::vector<Difference> differences(const ordered_json& here, const ordered_json& there) {
  std::set<std::string> keys;
  for (const ordered_json* side : {&here, &there})
    for (const auto& [key, value] : side->items()) keys.insert(key);
  std::vector<Difference> found;
  for (const std::string& key : keys)
    if (std::string a = text_of(here, key), b = text_of(there, key); a != b)
      found.push_back({key, std::move(a), std::move(b)});
  return found;
}

}  // namespace hotbackup::roles
