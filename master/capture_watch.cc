// SPDX-License-Identifier: Apache-2.0
#include "master/capture_watch.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

#include "common/base/bytes.h"
#include "common/os/process.h"

namespace hotbackup::master {
namespace {

constexpr std::size_t kNamedMax = 8;

struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileId&) const = default;
};

std::optional<FileId> file_id(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return FileId{status.st_dev, status.st_ino};
}

std::vector<std::string> entries(const std::string& directory) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> handle(::opendir(directory.c_str()), ::closedir);
  if (!handle) return names;
  while (const dirent* entry = ::readdir(handle.get())) names.emplace_back(entry->d_name);
  return names;
}

bool open_for_writing(const std::string& process, const std::string& descriptor) {
  std::ifstream info(process + "/fdinfo/" + descriptor);
  std::string key;
  std::string value;
  while (info >> key >> value) {
    if (key != "flags:") continue;
    int flags = 0;
    std::from_chars(value.data(), value.data() + value.size(), flags, 8);
    return (flags & O_ACCMODE) != O_RDONLY;
  }
  return false;
}

// Some file systems show another device in maps than in stat; the name tells then.
bool maps_control(const std::string& process, const FileId& control) {
  std::ifstream maps(process + "/maps");
  std::string line;
  while (std::getline(maps, line)) {
    std::istringstream fields(line);
    std::string range, permissions, offset, device, path;
    ino_t inode = 0;
    fields >> range >> permissions >> offset >> device >> inode >> path;
    constexpr std::string_view kName = "/control";
    if (inode == control.inode && path.size() > kName.size() && path.ends_with(kName)) return true;
  }
  return false;
}

// The data file that the process writes, if there is one.
std::optional<std::string> written_file(const std::string& process,
                                        const std::vector<std::pair<FileId, std::string>>& files) {
  for (const std::string& descriptor : entries(process + "/fd")) {
    const auto id = file_id(process + "/fd/" + descriptor);
    if (!id) continue;
    const auto file = std::find_if(files.begin(), files.end(),
                                   [&](const auto& entry) { return entry.first == *id; });
    if (file != files.end() && open_for_writing(process, descriptor)) return file->second;
  }
  return std::nullopt;
}

// Page 0 of a data file: a page header of 16 bytes, then LMDB's magic.
bool is_lmdb(const std::string& data_file) {
  std::ifstream file(data_file, std::ios::binary);
  char head[20];
  return file.read(head, sizeof head) && load_le<std::uint32_t>(head + 16) == 0xBEEFC0DE;
}

Result<> join_path(control::Group& group, const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  const bool directory = S_ISDIR(status.st_mode);
  if (!is_lmdb(directory ? path + "/data.mdb" : path)) return {};
  const std::unique_ptr<char, void (*)(void*)> canonical(::realpath(path.c_str(), nullptr),
                                                         std::free);
  if (!canonical) return {};
  HOTBACKUP_TRY(group.join(canonical.get(), directory));
  return {};
}

}  // namespace

std::vector<UncapturedWriter> uncaptured_writers(const control::Group& group) {
  std::vector<std::pair<FileId, std::string>> files;
  for (std::size_t i = 0; i < group.environment_count(); ++i) {
    const control::EnvironmentEntry& entry = group.layout().environments[i];
    if (entry.number == 0) continue;
    const std::string path(entry.path);
    const auto id = file_id(entry.subdirectory != 0 ? path + "/data.mdb" : path);
    if (id) files.emplace_back(*id, path);
  }
  const auto control = file_id(group.directory() + "/control");
  std::vector<UncapturedWriter> writers;
  if (files.empty() || !control) return writers;
  for (const std::string& name : entries("/proc")) {
    pid_t pid = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) continue;
    if (pid == ::getpid()) continue;
    const std::string process = "/proc/" + name;
    const auto file = written_file(process, files);
    if (!file || maps_control(process, *control)) continue;
    std::string program = os::process_name(pid);
    if (program.empty() || program.starts_with("hotbackup")) continue;
    writers.push_back({pid, std::move(program), *file});
  }
  return writers;
}

std::string describe(const std::vector<UncapturedWriter>& writers) {
  std::string text = "waiting for capture:";
  for (std::size_t i = 0; i < std::min(writers.size(), kNamedMax); ++i) {
    text += i == 0 ? " " : ", ";
    text += "pid " + std::to_string(writers[i].pid) + " (" + writers[i].program + ")";
  }
  if (writers.size() > kNamedMax)
    text += " and " + std::to_string(writers.size() - kNamedMax) + " more";
  return text;
}

Result<> join_existing(control::Group& group) {
  const std::uint32_t count = group.layout().pattern_count.load();
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::string pattern(group.layout().patterns[i].path);
    if (pattern.find('*') == std::string::npos) {
      HOTBACKUP_TRY(join_path(group, pattern));
      continue;
    }
    const std::string directory = pattern.substr(0, pattern.rfind('/'));
    std::vector<std::string> names = entries(directory);
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      const std::string path = directory + "/" + name;
      if (name != "." && name != ".." && control::match_pattern(pattern, path))
        HOTBACKUP_TRY(join_path(group, path));
    }
  }
  return {};
}

}  // namespace hotbackup::master
