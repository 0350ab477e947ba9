// SPDX-License-Identifier: Apache-2.0
#include "common/service/groups.h"

#include <spdlog/spdlog.h>

#include "common/control/group.h"

namespace hotbackup::service {

std::vector<std::string> find_problems(const config::Configuration& configuration) {
  std::vector<std::string> problems;
  for (const config::Group& group : configuration.groups) {
    if (const auto owner = config::resolve_owner(group); !owner)
      problems.push_back("group " + group.name + ": " + owner.error().text());
    auto opened = control::Group::open(configuration.node.state + "/groups/" + group.name);
    if (!opened && opened.error().code() != ErrorCode::kNotFound)
      problems.push_back("group " + group.name + ": " + opened.error().text());
  }
  return problems;
}

bool may_come_later(const Error& error) {
  return error.code() == ErrorCode::kNotFound || error.code() == ErrorCode::kFenced ||
         error.code() == ErrorCode::kNoSpace ||
         (error.code() == ErrorCode::kIo && error.os_error() == EIO);
}

void log_not_served(const std::string& group, const Error& error, std::string& said) {
  if (error.text() == said) return;
  said = error.text();
  const bool waits = error.code() == ErrorCode::kNotFound || error.code() == ErrorCode::kFenced;
  spdlog::log(waits ? spdlog::level::info : spdlog::level::err, "{}: not served: {}", group, said);
}

}  // namespace hotbackup::service
