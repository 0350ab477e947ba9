// SPDX-License-Identifier: Apache-2.0
// A command of the administrator's, run beside the event loop.
#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <map>
#include <string>

#include "common/base/error.h"

namespace hotbackup::net {

struct Command {
  std::string shell;                               // for /bin/sh -c
  std::map<std::string, std::string> environment;  // beside PATH, HOME, LANG, TZ, USER, LOGNAME
  std::chrono::milliseconds limit{};
  std::chrono::milliseconds grace{};  // between SIGTERM and the end by force; 0: by force at once
};

/// Success when the command ended with 0. Else kIo, kTimeout past the limit: how it ended, and the
/// last line of its stderr. The command gets none of this process's environment but what stands
/// above, /dev/null as stdin and stdout, and a process group of its own, which is ended when the
/// limit has passed or the caller is cancelled (kCancelled); it has ended when this returns or
/// throws, and everything on this thread waits for the grace that it takes.
asio::awaitable<Result<>> run_command(Command command);

}  // namespace hotbackup::net
