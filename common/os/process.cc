// SPDX-License-Identifier: Apache-2.0
#include "common/os/process.h"

#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
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

}  // namespace hotbackup::os
