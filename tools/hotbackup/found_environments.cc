// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/found_environments.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "common/base/bytes.h"
#include "common/os/process.h"
#include "common/os/unique_fd.h"

namespace hotbackup::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kLevelsMax = 5;
constexpr std::size_t kEntriesMax = 500'000;

// Page 0 of a data file: a page header of 16 bytes, then LMDB's magic and version.
bool is_data_file(const std::string& path) {
  const os::UniqueFd fd(
      ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  char head[24];
  return fd && ::pread(fd.get(), head, sizeof head, 0) == sizeof head &&
         load_le<std::uint32_t>(head + 16) == 0xBEEFC0DE && load_le<std::uint32_t>(head + 20) == 1;
}

std::string user_of(uid_t uid) {
  const passwd* entry = ::getpwuid(uid);
  return entry != nullptr ? entry->pw_name : std::to_string(uid);
}

class Finder {
 public:
  Finder(std::string without, std::vector<std::string> within)
      : without_(std::move(without)), within_(std::move(within)) {}

  FoundEnvironment* add(const std::string& data_file) {
    const auto holds = [&](const std::string& place) { return data_file.starts_with(place + "/"); };
    if (!without_.empty() && holds(without_)) return nullptr;
    if (!within_.empty() && std::none_of(within_.begin(), within_.end(), holds)) return nullptr;
    if (const auto known = found_.find(data_file); known != found_.end()) return &known->second;
    struct stat status {};
    if (::lstat(data_file.c_str(), &status) != 0 || !S_ISREG(status.st_mode) ||
        !is_data_file(data_file))
      return nullptr;
    FoundEnvironment environment;
    environment.subdirectory = data_file.ends_with("/data.mdb");
    environment.path =
        environment.subdirectory ? data_file.substr(0, data_file.rfind('/')) : data_file;
    environment.user = user_of(status.st_uid);
    environment.mode = status.st_mode & 0777;
    environment.bytes = static_cast<std::uint64_t>(status.st_blocks) * 512;
    return &found_.emplace(data_file, std::move(environment)).first->second;
  }

  std::vector<FoundEnvironment> take() {
    std::vector<FoundEnvironment> all;
    for (auto& [file, environment] : found_) all.push_back(std::move(environment));
    return all;
  }

 private:
  const std::string without_;
  const std::vector<std::string> within_;
  std::map<std::string, FoundEnvironment> found_;  // by data file
};

/// "pdns.service" from "0::/system.slice/pdns.service"; empty outside of services.
std::string unit_of(const std::string& process) {
  std::ifstream file(process + "/cgroup");
  for (std::string line; std::getline(file, line);) {
    for (std::size_t at = line.find(".service"); at != std::string::npos;
         at = line.find(".service", at + 1)) {
      const std::size_t begin = line.rfind('/', at);
      if (begin != std::string::npos && !line.substr(begin + 1).starts_with("user@"))
        return line.substr(begin + 1, at + 8 - begin - 1);
    }
  }
  return {};
}

void look_at_process(Finder& finder, const fs::path& process) {
  std::ifstream maps(process / "maps");
  std::set<std::string> shared;  // LMDB maps its data file shared
  Holder holder;
  for (std::string line; std::getline(maps, line);) {
    const std::size_t path = line.find('/');
    const std::size_t permissions = line.find(' ');
    if (path == std::string::npos || permissions == std::string::npos) continue;
    if (line.find("/liblmdb.so") != std::string::npos) holder.links_library = true;
    if (line.size() > permissions + 4 && line[permissions + 4] == 's')
      shared.insert(line.substr(path));
  }
  for (const std::string& file : shared) {
    FoundEnvironment* environment = finder.add(file);
    if (environment == nullptr) continue;
    holder.pid = static_cast<pid_t>(std::stol(process.filename().string()));
    holder.program = os::process_name(holder.pid);
    struct stat status {};
    if (::stat(process.c_str(), &status) == 0) holder.user = user_of(status.st_uid);
    holder.unit = unit_of(process);
    environment->holders.push_back(holder);
  }
}

/// Names that LMDB's users give: its own in a directory, a file with its lock file beside it, or a
/// usual ending.
bool is_candidate(const fs::path& file) {
  const std::string name = file.filename();
  if (name == "data.mdb" || name.ends_with(".mdb") || name.ends_with(".lmdb")) return true;
  struct stat status {};
  return !name.ends_with("-lock") && ::lstat((file.native() + "-lock").c_str(), &status) == 0;
}

void look_through(Finder& finder, const std::string& directory, std::size_t& seen) {
  std::error_code failed;
  fs::recursive_directory_iterator entry(directory, fs::directory_options::skip_permission_denied,
                                         failed);
  for (const fs::recursive_directory_iterator end; !failed && entry != end && ++seen < kEntriesMax;
       entry.increment(failed)) {
    if (entry.depth() >= kLevelsMax) entry.disable_recursion_pending();
    std::error_code ignored;
    if (!entry->is_symlink(ignored) && entry->is_regular_file(ignored) &&
        is_candidate(entry->path()) && entry->path().filename() != "lock.mdb")
      finder.add(entry->path());
  }
}

}  // namespace

std::vector<FoundEnvironment> find_environments(const std::vector<std::string>& directories,
                                                const std::string& without, bool only_there) {
  std::error_code failed;
  std::vector<std::string> places;
  for (const std::string& directory : directories)
    if (const fs::path place = fs::canonical(directory, failed); !failed) places.push_back(place);
  Finder finder(without, only_there ? places : std::vector<std::string>());
  for (fs::directory_iterator entry("/proc", failed), end; !failed && entry != end;
       entry.increment(failed)) {
    const std::string name = entry->path().filename();
    if (std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
        name != std::to_string(::getpid()))
      look_at_process(finder, entry->path());
  }
  std::size_t seen = 0;
  for (const std::string& place : places) look_through(finder, place, seen);
  return finder.take();
}

}  // namespace hotbackup::cli
