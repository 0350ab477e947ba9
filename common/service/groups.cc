// SPDX-License-Identifier: Apache-2.0
#include "common/service/groups.h"

#include <spdlog/spdlog.h>

namespace hotbackup::service {

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
