// SPDX-License-Identifier: Apache-2.0
#include "common/service/refused_programs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>
#include <vector>

#include "common/lmdb/environment.h"
#include "common/os/process.h"

namespace hotbackup::service {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCode = "HB-pid-namespace";

using FileId = std::pair<dev_t, ino_t>;

std::set<FileId> data_files(const control::Group& group) {
  std::set<FileId> files;
  for (std::size_t i = 0; i < group.environment_count(); ++i) {
    const control::EnvironmentEntry& entry = group.layout().environments[i];
    struct stat status {};
    if (entry.number != 0 &&
        ::stat(lmdb::data_file(entry.path, entry.subdirectory != 0).c_str(), &status) == 0)
      files.emplace(status.st_dev, status.st_ino);
  }
  return files;
}

/// True also where it may not be looked at.
bool may_have_open(const std::string& process, const std::set<FileId>& files) {
  std::error_code failed;
  for (fs::directory_iterator fd(process + "/fd", failed);
       !failed && fd != fs::directory_iterator(); fd.increment(failed)) {
    struct stat status {};
    if (::stat(fd->path().c_str(), &status) == 0 && files.contains({status.st_dev, status.st_ino}))
      return true;
  }
  return failed == std::errc::permission_denied;
}

}  // namespace

void forget_refused_programs(control::Group& group) {
  std::set<std::string> names;
  for (const control::Incident& incident : group.incidents().open())
    if (incident.code == kCode) names.insert(incident.subject);
  if (names.empty()) return;
  const std::set<FileId> files = data_files(group);
  std::error_code failed;
  for (fs::directory_iterator at("/proc", failed); !failed && at != fs::directory_iterator();
       at.increment(failed)) {
    const std::string number = at->path().filename();
    pid_t pid = 0;
    if (std::from_chars(number.data(), number.data() + number.size(), pid).ec != std::errc())
      continue;
    if (const auto name = names.find(os::process_name(pid));
        name != names.end() && may_have_open(at->path(), files))
      names.erase(name);
  }
  if (failed) return;
  for (const std::string& name : names) group.incidents().clear(kCode, name);
}

}  // namespace hotbackup::service
