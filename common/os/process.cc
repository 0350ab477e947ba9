// SPDX-License-Identifier: Apache-2.0
#include "common/os/process.h"

#include <dirent.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "common/os/file.h"

namespace hotbackup::os {

Result<std::array<char, 40>> boot_id() {
  HOTBACKUP_ASSIGN(const std::string text, read_file("/proc/sys/kernel/random/boot_id"));
  std::array<char, 40> id{};
  std::memcpy(id.data(), text.data(), std::min<std::size_t>(text.size(), 36));
  return id;
}

std::uint64_t pid_namespace() {
  struct stat status {};
  return ::stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

bool process_exists(pid_t pid) {
  return pid > 0 && (::kill(pid, 0) == 0 || errno == EPERM);
}

namespace {

std::string name_in(const std::string& process) {
  auto text = read_file("/proc/" + process + "/comm");
  if (!text) return {};
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

}  // namespace

std::string process_name(pid_t pid) {
  return name_in(std::to_string(pid));
}

std::string own_name() {
  std::string name = name_in("self");
  if (!name.empty()) return name;
  char thread[16]{};  // without /proc this thread's has to do
  return ::prctl(PR_GET_NAME, thread) == 0 ? thread : "";
}

std::int64_t boottime_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

namespace {

// "7f00-7f01 rw-s 00000000 fe:00 1234   /path": false when it may not be read.
bool maps_file(const std::string& process, ino_t inode, std::string_view path_end,
               std::size_t& times) {
  auto text = read_file("/proc/" + process + "/maps", 64 << 20);
  if (!text) return text.error().os_error() != EACCES && text.error().os_error() != EPERM;
  const std::string wanted = " " + std::to_string(inode) + " ";
  for (std::size_t at = text->find(wanted); at != std::string::npos;
       at = text->find(wanted, at + 1)) {
    const std::size_t end = text->find('\n', at);
    if (std::string_view(*text).substr(at, end - at).ends_with(path_end)) ++times;
  }
  return true;
}

}  // namespace

Mappers processes_mapping(ino_t inode, std::string_view path_end) {
  Mappers mappers;
  DIR* const stream = ::opendir("/proc");
  if (stream == nullptr) return {{}, false, 0};
  while (const dirent* entry = ::readdir(stream)) {
    const pid_t pid = static_cast<pid_t>(std::atoi(entry->d_name));
    if (pid <= 0 || pid == ::getpid()) continue;
    std::size_t times = 0;
    mappers.all_seen &= maps_file(entry->d_name, inode, path_end, times);
    if (times != 0) mappers.pids.push_back(pid);
  }
  ::closedir(stream);
  (void)maps_file("self", inode, path_end, mappers.own);
  return mappers;
}

}  // namespace hotbackup::os
