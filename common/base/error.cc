// SPDX-License-Identifier: Apache-2.0
#include "common/base/error.h"

#include <cstring>

namespace hotbackup {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kNoSpace:
      return "no_space";
    case ErrorCode::kCorrupt:
      return "corrupt";
    case ErrorCode::kGap:
      return "gap";
    case ErrorCode::kDiverged:
      return "diverged";
    case ErrorCode::kFenced:
      return "fenced";
    case ErrorCode::kDisconnected:
      return "disconnected";
    case ErrorCode::kTimeout:
      return "timeout";
    case ErrorCode::kBusy:
      return "busy";
    case ErrorCode::kProtocol:
      return "protocol";
    case ErrorCode::kVersion:
      return "version";
    case ErrorCode::kConfig:
      return "config";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kRefused:
      return "refused";
    case ErrorCode::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

Error Error::from_errno(std::string text, int os_error) {
  ErrorCode code = ErrorCode::kIo;
  if (os_error == ENOSPC || os_error == EDQUOT) code = ErrorCode::kNoSpace;
  if (os_error == ENOENT) code = ErrorCode::kNotFound;
  char buffer[128];
  return Error(code, text + ": " + ::strerror_r(os_error, buffer, sizeof buffer), os_error);
}

Error Error::with_context(std::string_view context) && {
  text_.insert(0, ": ");
  text_.insert(0, context);
  return std::move(*this);
}

}  // namespace hotbackup
