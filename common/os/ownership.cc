// SPDX-License-Identifier: Apache-2.0
#include "common/os/ownership.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "common/os/unique_fd.h"

namespace hotbackup::os {
namespace {

constexpr auto kAnyUser = static_cast<uid_t>(-1);
constexpr auto kAnyGroup = static_cast<gid_t>(-1);
constexpr mode_t kModeBits = 0777;

// The kernel's form of an access control list (linux/posix_acl_xattr.h): a version, then entries
// sorted by tag and id. Integers are little-endian, as on every machine this runs on.
constexpr char kAclName[] = "system.posix_acl_access";
constexpr std::uint32_t kAclVersion = 2;
enum Tag : std::uint16_t {
  kOwner = 1,
  kUser = 2,
  kOwnGroup = 4,
  kGroup = 8,
  kMask = 16,
  kOther = 32
};
struct AclEntry {
  std::uint16_t tag;
  std::uint16_t bits;
  std::uint32_t id;
};
constexpr std::uint16_t kPass = 1;
constexpr std::size_t kAclBytesMax = 4 + 512 * sizeof(AclEntry);

/// Empty where the directory has none beyond its mode.
std::vector<AclEntry> read_acl(const std::string& path) {
  std::array<char, kAclBytesMax> bytes;
  const ssize_t size = ::getxattr(path.c_str(), kAclName, bytes.data(), bytes.size());
  if (size < 4) return {};
  std::vector<AclEntry> entries((static_cast<std::size_t>(size) - 4) / sizeof(AclEntry));
  std::memcpy(entries.data(), bytes.data() + 4, entries.size() * sizeof(AclEntry));
  return entries;
}

bool write_acl(const std::string& path, const std::vector<AclEntry>& entries) {
  std::string bytes(4 + entries.size() * sizeof(AclEntry), '\0');
  std::memcpy(bytes.data(), &kAclVersion, 4);
  std::memcpy(bytes.data() + 4, entries.data(), entries.size() * sizeof(AclEntry));
  return ::setxattr(path.c_str(), kAclName, bytes.data(), bytes.size(), 0) == 0;
}

std::vector<AclEntry> acl_of_mode(mode_t mode) {
  constexpr std::uint32_t kNoId = 0xFFFFFFFF;
  const auto bits = [mode](int shift) { return static_cast<std::uint16_t>(mode >> shift & 7); };
  return {{kOwner, bits(6), kNoId}, {kOwnGroup, bits(3), kNoId}, {kOther, bits(0), kNoId}};
}

void let_pass(std::vector<AclEntry>& entries, Tag tag, std::uint32_t id) {
  auto found = std::find_if(entries.begin(), entries.end(),
                            [&](const AclEntry& e) { return e.tag == tag && e.id == id; });
  if (found == entries.end()) found = entries.insert(found, {tag, 0, id});
  found->bits |= kPass;
}

/// What the mode shows for the group is the mask from now on: it bounds all but owner and others.
void widen_mask(std::vector<AclEntry>& entries) {
  std::uint16_t wanted = 0;
  for (const AclEntry& entry : entries)
    if (entry.tag == kUser || entry.tag == kGroup || entry.tag == kOwnGroup) wanted |= entry.bits;
  let_pass(entries, kMask, 0xFFFFFFFF);
  for (AclEntry& entry : entries)
    if (entry.tag == kMask) entry.bits |= wanted;
  std::sort(entries.begin(), entries.end(), [](const AclEntry& a, const AclEntry& b) {
    return a.tag != b.tag ? a.tag < b.tag : a.id < b.id;
  });
}

bool passes_by_acl(const std::string& directory, const Permissions& permissions) {
  const std::vector<AclEntry> entries = read_acl(directory);
  return std::any_of(entries.begin(), entries.end(), [&](const AclEntry& entry) {
    return (entry.bits & kPass) != 0 && ((entry.tag == kUser && entry.id == permissions.uid) ||
                                         (entry.tag == kGroup && entry.id == permissions.gid));
  });
}

}  // namespace

void give(int fd, const Permissions& permissions) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return;
  const mode_t mode = permissions.mode & kModeBits;
  if ((status.st_mode & 07777) != mode) (void)::fchmod(fd, mode);
  const bool user = permissions.uid != kAnyUser && permissions.uid != status.st_uid;
  const bool group = permissions.gid != kAnyGroup && permissions.gid != status.st_gid;
  if ((user || group) && ::fchown(fd, permissions.uid, permissions.gid) != 0 && group)
    (void)!::fchown(fd, kAnyUser, permissions.gid);
  errno = 0;
}

void give(const std::string& path, const Permissions& permissions) {
  const int saved = errno;
  // Closing a handle of this kind drops no locks.
  const UniqueFd handle(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  const bool ours =
      handle && ::fstat(handle.get(), &status) == 0 &&
      (S_ISDIR(status.st_mode) || (S_ISREG(status.st_mode) && status.st_nlink == 1)) &&
      status.st_uid == ::geteuid();
  if (ours) {
    const std::string same = "/proc/self/fd/" + std::to_string(handle.get());
    (void)::chmod(same.c_str(), permissions.mode & kModeBits);
    const auto change = [&](uid_t uid) {
      return ::fchownat(handle.get(), "", uid, permissions.gid, AT_EMPTY_PATH) == 0;
    };
    if (!change(permissions.uid)) (void)change(kAnyUser);
  }
  errno = saved;
}

bool may_pass(const std::string& directory, const Permissions& permissions) {
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0 || permissions.uid == 0) return true;
  if (status.st_uid == permissions.uid) return (status.st_mode & S_IXUSR) != 0;
  if ((status.st_mode & S_IXOTH) != 0) return true;
  if (permissions.uid == kAnyUser) return false;
  return (status.st_gid == permissions.gid && (status.st_mode & S_IXGRP) != 0) ||
         passes_by_acl(directory, permissions);
}

Result<> allow_passage(const std::string& directory, const Permissions& permissions) {
  if (may_pass(directory, permissions)) return {};
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0) return fail_errno("looking at " + directory);
  if (permissions.uid != kAnyUser) {
    std::vector<AclEntry> entries = read_acl(directory);
    if (entries.empty()) entries = acl_of_mode(status.st_mode);
    let_pass(entries, kUser, permissions.uid);
    if (permissions.gid != kAnyGroup) let_pass(entries, kGroup, permissions.gid);
    widen_mask(entries);
    if (write_acl(directory, entries)) return {};
    if (errno != ENOTSUP) return fail_errno("letting the group's user pass through " + directory);
  }
  if (::chmod(directory.c_str(), (status.st_mode & 07777) | S_IXOTH) != 0)
    return fail_errno("letting the group's user pass through " + directory);
  return {};
}

}  // namespace hotbackup::os
