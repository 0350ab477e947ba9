// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/capture_link.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

#include "common/os/unique_fd.h"

namespace hotbackup::cli {
namespace {

Result<> sync_directory(const std::string& directory) {
  const os::UniqueFd handle(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!handle || ::fsync(handle.get()) != 0) return fail_errno("cannot sync " + directory);
  return {};
}

bool same_directory(const std::string& a, const std::string& b) {
  struct stat first {};
  struct stat second {};
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

}  // namespace

Result<CaptureLink> examine_capture_link(const std::string& directory,
                                         const std::string& group_directory) {
  const std::string link = directory + "/" + kCaptureLinkName;
  char target[PATH_MAX];
  const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
  if (length < 0 && errno == ENOENT) return CaptureLink::kAbsent;
  if (length < 0 && errno == EINVAL)
    return fail(ErrorCode::kRefused, link + " exists and is no link: move it away");
  if (length < 0) return fail_errno("cannot read " + link);
  const std::string text(target, static_cast<std::size_t>(length));
  if (text == group_directory || same_directory(link, group_directory)) return CaptureLink::kOurs;
  if (::access(link.c_str(), F_OK) != 0)
    return fail(ErrorCode::kRefused,
                link + " leads to " + text +
                    ", which is not there: mount it, or remove the link if that group is gone");
  return fail(ErrorCode::kRefused,
              link + " leads to " + text +
                  ", another group, and a directory belongs to one group: put all environments of "
                  "this directory into one group, or make this one's own directory first");
}

Result<> place_capture_link(const std::string& directory, const std::string& group_directory) {
  HOTBACKUP_ASSIGN(const CaptureLink found, examine_capture_link(directory, group_directory));
  if (found == CaptureLink::kOurs) return {};
  const std::string link = directory + "/" + kCaptureLinkName;
  if (::symlink(group_directory.c_str(), link.c_str()) != 0)
    return fail_errno("cannot make the link " + link);
  return sync_directory(directory);
}

Result<bool> remove_capture_link(const std::string& directory, const std::string& group_directory) {
  const auto found = examine_capture_link(directory, group_directory);
  // What is not ours, or in a directory that is gone, is not ours to remove.
  if (!found || *found != CaptureLink::kOurs) return false;
  const std::string link = directory + "/" + kCaptureLinkName;
  if (::unlink(link.c_str()) != 0) return fail_errno("cannot remove " + link);
  HOTBACKUP_TRY(sync_directory(directory));
  return true;
}

}  // namespace hotbackup::cli
