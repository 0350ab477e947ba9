// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/command_line.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>

namespace hotbackup::cli {
namespace {

/// "; run it as root or as user …", by the owner of what this user may not read or change.
std::string who_may(const Session& session) {
  std::string text = "; run it as root";
  const auto configuration = load_configuration(session);
  if (!configuration) return text;
  struct stat state {};
  if (::stat(configuration->node.state.c_str(), &state) != 0) return text;
  if (const passwd* user = state.st_uid == 0 ? nullptr : ::getpwuid(state.st_uid))
    text += " or as user " + std::string(user->pw_name);
  if (const ::group* members = state.st_gid == 0 ? nullptr : ::getgrgid(state.st_gid);
      members != nullptr && (state.st_mode & S_IXGRP) != 0)
    text += " or as a member of group " + std::string(members->gr_name);
  return text;
}

}  // namespace

int report_error(const Session& session, const char* program, const Error& error) {
  const bool refused = error.os_error() == EACCES || error.os_error() == EPERM;
  const std::string hint = refused && ::geteuid() != 0 ? who_may(session) : "";
  std::fprintf(stderr, "%s: %s%s\n", program, error_line(error).c_str(), hint.c_str());
  return exit_code(error);
}

Result<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  if (parsed.ec != std::errc{} || parsed.ptr != end)
    return fail(ErrorCode::kConfig, "'" + std::string(text) + "' is no number");
  return number;
}

CLI::Validator update_number() {
  return CLI::Validator(
      [](std::string& text) {
        const auto number = parse_number(text);
        if (!number) return number.error().text();
        text = std::to_string(*number);
        return std::string();
      },
      "");
}

}  // namespace hotbackup::cli
