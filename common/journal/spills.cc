// SPDX-License-Identifier: Apache-2.0
#include "common/journal/spills.h"

#include <unistd.h>

#include <atomic>
#include <charconv>

#include "common/os/process.h"

namespace hotbackup::journal {
namespace {

constexpr std::string_view kPrefix = "spill-";

/// 0: not the name of a spill file.
pid_t owner_of(std::string_view name) {
  pid_t pid = 0;
  if (!name.starts_with(kPrefix) || !name.ends_with(".tmp")) return 0;
  name.remove_prefix(kPrefix.size());
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
  return parsed.ec == std::errc() && *parsed.ptr == '-' ? pid : 0;
}

}  // namespace

std::string next_spill_name() {
  static std::atomic<unsigned> count{0};
  return std::string(kPrefix) + std::to_string(::getpid()) + "-" +
         std::to_string(count.fetch_add(1)) + ".tmp";
}

Result<> remove_left_spills(os::Directory& directory) {
  HOTBACKUP_ASSIGN(const auto names, directory.list());
  for (const std::string& name : names) {
    const pid_t owner = owner_of(name);
    if (owner == 0 || os::process_exists(owner)) continue;
    if (auto removed = directory.remove(name);
        !removed && removed.error().code() != ErrorCode::kNotFound)
      return removed;
  }
  return {};
}

}  // namespace hotbackup::journal
