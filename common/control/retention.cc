// SPDX-License-Identifier: Apache-2.0
#include "common/control/retention.h"

#include <sys/stat.h>

#include "common/journal/segment.h"

namespace hotbackup::control {
namespace {

bool older_than(const std::string& path, std::chrono::milliseconds age) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return false;
  const WallTime modified{std::chrono::seconds(status.st_mtim.tv_sec) +
                          std::chrono::nanoseconds(status.st_mtim.tv_nsec)};
  return wall_now() - modified >= age;
}

}  // namespace

Result<> retire_segments(Group& group, UpdateNumber needless,
                         std::optional<std::chrono::milliseconds> keep) {
  HOTBACKUP_ASSIGN(const auto segments, journal::list_segments(group.journal_directory()));
  for (std::size_t i = 0; i + 1 < segments.size(); ++i) {
    if (segments[i + 1].previous() > needless) break;
    const std::string path = group.directory() + "/journal/" + journal::segment_name(segments[i]);
    if (keep && !older_than(path, *keep)) break;
    HOTBACKUP_TRY(journal::retire_segment(group.journal_directory(), segments[i],
                                          group.layout().segment_bytes));
  }
  return {};
}

}  // namespace hotbackup::control
