// SPDX-License-Identifier: Apache-2.0
#include "common/config/configuration.h"

#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>

#include "common/config/document.h"

namespace hotbackup::config {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;

tl::unexpected<Error> cannot_read(const std::string& path, int os_error) {
  const Error error = Error::from_errno("configuration " + path, os_error);
  return fail(ErrorCode::kConfig, error.text(), os_error);
}

}  // namespace

std::string default_path() {
  const char* path = std::getenv("HOTBACKUP_CONFIG");
  return path != nullptr && *path != '\0' ? path : "/etc/hotbackup/hotbackup.toml";
}

Result<Configuration> load(const std::string& path, Keys keys) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return cannot_read(path, errno != 0 ? errno : EIO);
  std::string text(kFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return cannot_read(path, errno != 0 ? errno : EIO);
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kFileBytesMax) {
    return fail(ErrorCode::kConfig, "configuration " + path + ": larger than 1 MB");
  }
  return parse(text, path, keys);
}

Result<const Group*> find_group(const Configuration& configuration, std::string_view name) {
  const auto& groups = configuration.groups;
  if (groups.empty()) {
    return fail(ErrorCode::kConfig, configuration.source + " has no [[group]]");
  }
  if (name.empty() && groups.size() == 1) return &groups.front();
  std::string names;
  for (const Group& group : groups) {
    if (group.name == name) return &group;
    names += (names.empty() ? "" : ", ") + group.name;
  }
  return fail(ErrorCode::kConfig, (name.empty() ? "which group? there are "
                                                : "no group " + in_quotes(name) + ": there is ") +
                                      names);
}

const Peer* find_peer(const Configuration& configuration, std::string_view name) {
  for (const Peer& peer : configuration.peers) {
    if (peer.name == name) return &peer;
  }
  return nullptr;
}

Result<std::optional<Owner>> resolve_owner(const Group& group) {
  if (group.user.empty()) return std::nullopt;
  std::string buffer(16 << 10, '\0');
  passwd entry{};
  passwd* found = nullptr;
  int error;
  while ((error = ::getpwnam_r(group.user.c_str(), &entry, buffer.data(), buffer.size(), &found)) ==
         ERANGE) {
    buffer.resize(buffer.size() * 2);
  }
  if (error != 0) return fail_errno("looking up user " + in_quotes(group.user), error);
  if (found == nullptr) {
    return fail(ErrorCode::kConfig, "group " + group.name + ": there is no user " +
                                        in_quotes(group.user) + " on this machine");
  }
  return Owner{entry.pw_uid, entry.pw_gid};
}

}  // namespace hotbackup::config
