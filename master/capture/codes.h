// SPDX-License-Identifier: Apache-2.0
// Our errors as LMDB-style return codes.
#pragma once

#include <cerrno>

#include "common/base/error.h"

namespace hotbackup::capture {

inline int code_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kNoSpace:
      return ENOSPC;
    case ErrorCode::kFenced:
      return EACCES;
    case ErrorCode::kTimeout:
      return EBUSY;
    case ErrorCode::kBusy:  // EAGAIN: the loss limit
      return error.os_error() != 0 ? error.os_error() : EBUSY;
    case ErrorCode::kIo:
      return error.os_error() != 0 ? error.os_error() : EIO;
    default:
      return EIO;
  }
}

}  // namespace hotbackup::capture
