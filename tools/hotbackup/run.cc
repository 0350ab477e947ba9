// SPDX-License-Identifier: Apache-2.0
// hotbackup run -- CMD…: one command under capture. Becomes the command; nothing of this program
// stays behind.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tools/hotbackup/capture_library.h"
#include "tools/hotbackup/command.h"

namespace hotbackup::cli {
namespace {

/// As the shell finds it; empty when it does not.
std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  while (true) {
    const std::size_t end = rest.find(':');
    std::string candidate(rest.substr(0, end));
    candidate = (candidate.empty() ? "." : candidate) + "/" + name;
    struct stat status {};
    if (::stat(candidate.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
        ::access(candidate.c_str(), X_OK) == 0)
      return candidate;
    if (end == std::string_view::npos) return {};
    rest.remove_prefix(end + 1);
  }
}

Result<int> run(const Session& session) {
  if (session.program.empty())
    return fail(ErrorCode::kConfig, "which command? Type hotbackup run -- CMD…");
  HOTBACKUP_ASSIGN(const std::string library, capture_library());
  const std::string program = find_program(session.program.front());
  struct stat status {};
  if (!program.empty() && ::stat(program.c_str(), &status) == 0 &&
      (((status.st_mode & S_ISUID) != 0 && status.st_uid != ::geteuid()) ||
       ((status.st_mode & S_ISGID) != 0 && status.st_gid != ::getegid())))
    return fail(ErrorCode::kRefused,
                program +
                    " is set-user-id or set-group-id, so the system drops LD_PRELOAD and it would "
                    "write uncaptured: run it as the user it changes to");

  const char* before = std::getenv("LD_PRELOAD");
  const std::string preload =
      before != nullptr && *before != '\0' ? library + ":" + before : library;
  ::setenv("LD_PRELOAD", preload.c_str(), 1);

  std::vector<char*> words;
  for (const std::string& word : session.program) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  std::fflush(nullptr);
  errno = ENOENT;
  if (!program.empty()) ::execvp(program.c_str(), words.data());
  const int os_error = errno;
  std::fprintf(stderr, "hotbackup: cannot run %s: %s\n", session.program.front().c_str(),
               std::strerror(os_error));
  return os_error == ENOENT || os_error == ENOTDIR ? 127 : 126;
}

}  // namespace

void add_run(CLI::App& app, Session& session) {
  auto* command =
      app.add_subcommand("run", "Runs one command under capture: hotbackup run -- CMD…");
  command->footer(
      "Everything behind -- is the command and its arguments. Exit code: the command's; "
      "127 when it is not found, 126 when it cannot be executed.");
  command->callback([&session] { session.action = [&session] { return run(session); }; });
}

}  // namespace hotbackup::cli
