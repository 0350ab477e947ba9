// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/hook.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "common/base/clock.h"
#include "tools/resync/streams.h"

namespace hotbackup::resync {

Result<> run_hook(const std::string& command, const std::string& event, const std::string& group,
                  UpdateNumber number, const std::vector<std::string>& environment,
                  std::chrono::seconds most) {
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("starting " + event);
  if (pid == 0) {
    ::setpgid(0, 0);
    ::setenv("HOTBACKUP_GROUP", group.c_str(), 1);
    ::setenv("HOTBACKUP_EVENT", event.c_str(), 1);
    ::setenv("HOTBACKUP_NUMBER", std::to_string(number.value).c_str(), 1);
    ::setenv("HOTBACKUP_TIME", iso8601(wall_now()).c_str(), 1);
    for (const std::string& one : environment)
      if (const std::size_t equals = one.find('='); equals != std::string::npos)
        ::setenv(one.substr(0, equals).c_str(), one.substr(equals + 1).c_str(), 1);
    ::dup2(2, 1);  // standard output is for results
    ::execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  const auto end = std::chrono::steady_clock::now() + most;
  int status = 0;
  for (;;) {
    const pid_t got = ::waitpid(pid, &status, WNOHANG);
    if (got == pid) break;
    if (got < 0 && errno != EINTR) return fail_errno("waiting for " + event);
    const bool stopping = stop_requested().load();
    if (stopping || std::chrono::steady_clock::now() > end) {
      ::kill(-pid, SIGKILL);
      ::waitpid(pid, &status, 0);
      if (stopping) return fail(ErrorCode::kCancelled, event + " was ended: " + command);
      return fail(ErrorCode::kTimeout, event + " took longer than " + std::to_string(most.count()) +
                                           " s and was ended: " + command);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(ErrorCode::kIo,
              event + " failed (" +
                  (WIFEXITED(status) ? "exit " + std::to_string(WEXITSTATUS(status))
                                     : "signal " + std::to_string(WTERMSIG(status))) +
                  "): " + command);
}

}  // namespace hotbackup::resync
