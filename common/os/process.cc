// SPDX-License-Identifier: Apache-2.0
#include "common/os/process.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "common/os/file.h"

namespace hotbackup::os {

std::array<char, 40> boot_id() {
  std::array<char, 40> id{};
  if (auto text = read_file("/proc/sys/kernel/random/boot_id"))
    std::memcpy(id.data(), text->data(), std::min<std::size_t>(text->size(), 36));
  return id;
}

std::uint64_t pid_namespace() {
  struct stat status {};
  return ::stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

bool process_exists(pid_t pid) {
  return pid > 0 && (::kill(pid, 0) == 0 || errno == EPERM);
}

std::string process_name(pid_t pid) {
  auto text = read_file("/proc/" + std::to_string(pid) + "/comm");
  if (!text) return {};
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

std::int64_t boottime_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

namespace {

// "7f00-7f01 rw-s 00000000 fe:00 1234   /path": false when it may not be read.
bool maps_file(const std::string& process, ino_t inode, std::string_view path_end, bool& found) {
  auto text = read_file("/proc/" + process + "/maps", 64 << 20);
  if (!text) return text.error().os_error() != EACCES && text.error().os_error() != EPERM;
  const std::string wanted = " " + std::to_string(inode) + " ";
  for (std::size_t at = text->find(wanted); at != std::string::npos && !found;
       at = text->find(wanted, at + 1)) {
    const std::size_t end = text->find('\n', at);
    found = std::string_view(*text).substr(at, end - at).ends_with(path_end);
  }
  return true;
}

}  // namespace

Mappers processes_mapping(ino_t inode, std::string_view path_end) {
  Mappers mappers;
  DIR* const stream = ::opendir("/proc");
  if (stream == nullptr) return {{}, false};
  while (const dirent* entry = ::readdir(stream)) {
    const pid_t pid = static_cast<pid_t>(std::atoi(entry->d_name));
    if (pid <= 0 || pid == ::getpid()) continue;
    bool found = false;
    mappers.all_seen &= maps_file(entry->d_name, inode, path_end, found);
    if (found) mappers.pids.push_back(pid);
  }
  ::closedir(stream);
  return mappers;
}

}  // namespace hotbackup::os
