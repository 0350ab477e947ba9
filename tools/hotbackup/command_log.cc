// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/command_log.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "common/base/clock.h"
#include "common/os/ownership.h"
#include "common/os/unique_fd.h"

namespace hotbackup::cli {

std::string user_name() {
  if (const char* sudo = std::getenv("SUDO_USER"); sudo != nullptr && ::getuid() == 0) return sudo;
  const passwd* entry = ::getpwuid(::getuid());
  return entry != nullptr ? entry->pw_name : std::to_string(::getuid());
}

Result<> log_command(const Session& session, const std::string& group_directory) {
  nlohmann::ordered_json line;
  line["time"] = iso8601(wall_now());
  line["user"] = user_name();
  line["uid"] = ::getuid();
  std::string command = "hotbackup";
  for (const std::string& word : session.arguments) command += " " + word;
  line["command"] = command;
  // Arguments may be any bytes; a log line must stay one.
  const std::string text =
      line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";

  const std::string path = group_directory + "/commands.log";
  const os::UniqueFd file(
      ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!file) return fail_errno("cannot open " + path);
  // As the group's directory is: root's commands and the user's own go to one log.
  struct stat group {};
  if (::stat(group_directory.c_str(), &group) == 0)
    os::give(path, {group.st_uid, group.st_gid, group.st_mode & 0660});
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return fail_errno("cannot write " + path);
  return {};
}

}  // namespace hotbackup::cli
