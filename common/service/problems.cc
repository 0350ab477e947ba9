// SPDX-License-Identifier: Apache-2.0
#include "common/service/problems.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "common/config/document.h"
#include "common/control/group.h"

namespace hotbackup::service {
namespace {

/// Where a group's setting stands in the file as it is now; nothing when it is not there.
std::optional<config::Mark> find_setting(const config::Configuration& configuration,
                                         const std::string& group, const char* key) {
  std::ostringstream text;
  text << std::ifstream(configuration.source).rdbuf();
  const auto document = config::parse_document(text.str(), configuration.source);
  const config::Entry* groups = document ? document->find("group") : nullptr;
  const auto* all = groups ? std::get_if<config::Array>(&groups->value.data) : nullptr;
  if (all == nullptr) return std::nullopt;
  for (const config::Value& one : *all) {
    const auto* table = std::get_if<config::Table>(&one.data);
    const config::Entry* name = table ? table->find("name") : nullptr;
    const auto* called = name ? std::get_if<std::string>(&name->value.data) : nullptr;
    if (called == nullptr || *called != group) continue;
    if (const config::Entry* setting = table->find(key)) return setting->at;
  }
  return std::nullopt;
}

}  // namespace

std::string in_one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return text;
}

std::string coded(const Error& error) {
  std::string code(error_code_name(error.code()));
  std::ranges::replace(code, '_', '-');
  return in_one_line("HB-" + code + ": " + error.text());
}

std::vector<std::string> find_problems(const config::Configuration& configuration) {
  std::vector<std::string> problems;
  for (const config::Group& group : configuration.groups) {
    if (const auto owner = config::resolve_owner(group); !owner) {
      const auto at = find_setting(configuration, group.name, "user");
      const std::string& text = owner.error().text();
      problems.push_back(coded(Error(
          owner.error().code(), at ? config::located(configuration.source, *at, text) : text)));
    }
    auto opened = control::Group::open(configuration.node.state + "/groups/" + group.name);
    if (!opened && opened.error().code() != ErrorCode::kNotFound)
      problems.push_back(coded(std::move(opened).error().with_context("group " + group.name)));
  }
  return problems;
}

}  // namespace hotbackup::service
