// SPDX-License-Identifier: Apache-2.0
#include "master/capture/membership.h"

#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "master/capture/process_state.h"

#include <lmdb.h>

namespace hotbackup::capture {
namespace {

constexpr char kLinkName[] = "/.hotbackup";

std::optional<std::string> canonical(const std::string& path) {
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr) return std::nullopt;
  return std::string(resolved);
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// Canonical path of the data file that LMDB is about to open or make with NOSUBDIR.
std::optional<std::string> canonical_file(const std::string& path) {
  if (auto existing = canonical(path)) return existing;
  const auto directory = canonical(parent_of(path));
  if (!directory) return std::nullopt;
  const std::string name = path.substr(path.rfind('/') + 1);
  return (*directory == "/" ? "" : *directory) + "/" + name;
}

/// The link in the data file's directory. A directory that was made after `init`, by the program
/// that keeps its environment there, has none yet: then the one in the directory around it counts.
std::optional<std::string> find_link(const Membership& member) {
  const std::string around = parent_of(member.path);
  for (const std::string& directory : {member.subdirectory ? member.path : around, around}) {
    const std::string link = (directory == "/" ? "" : directory) + kLinkName;
    struct stat status {};
    if (::lstat(link.c_str(), &status) == 0) return link;
  }
  return std::nullopt;
}

/// A group's directory decides about other people's writes, so it must be the work of somebody who
/// could do so anyway.
std::optional<control::TrustedOwners> trusted_owners(const Membership& member) {
  struct stat owner {};
  const std::string data = member.data_file();
  if (::stat(data.c_str(), &owner) != 0 && ::stat(parent_of(data).c_str(), &owner) != 0)
    return std::nullopt;
  return control::TrustedOwners{::geteuid(), owner.st_uid};
}

bool covered_by_pattern(const control::Group& group, const std::string& path) {
  const control::Layout& layout = group.layout();
  for (std::uint32_t i = 0; i < layout.pattern_count.load(); ++i)
    if (control::match_pattern(layout.patterns[i].path, path)) return true;
  return false;
}

}  // namespace

control::EnvironmentEntry* join_group(control::Group& group, const std::string& path,
                                      bool subdirectory) {
  if (control::EnvironmentEntry* entry = group.environment_at(path)) return entry;
  if (group.role() != control::Role::kMaster) return nullptr;
  auto joined = group.join(path, subdirectory);
  return joined ? *joined : nullptr;
}

Membership find_membership(const char* path, unsigned flags) {
  Membership member;
  member.subdirectory = (flags & MDB_NOSUBDIR) == 0;
  const auto found = member.subdirectory ? canonical(path) : canonical_file(path);
  if (!found) return member;  // LMDB has the right error for it
  member.path = *found;
  const auto link = find_link(member);
  if (!link) return member;

  member.kind = Membership::Kind::kUnusable;
  const auto target = canonical(*link);
  const auto trusted = trusted_owners(member);
  if (!target || !trusted) return member;
  auto group = open_group(*target, *trusted);
  if (!group) return member;
  control::Group& opened = **group;
  if (opened.role() == control::Role::kNone) return {};
  if (!opened.shares_pid_namespace()) return member;
  member.entry = (flags & MDB_RDONLY) != 0 ? opened.environment_at(member.path)
                                           : join_group(opened, member.path, member.subdirectory);
  if (member.entry == nullptr && !covered_by_pattern(opened, member.path)) return {};
  member.kind = Membership::Kind::kMember;
  member.group = &opened;
  return member;
}

}  // namespace hotbackup::capture
