// SPDX-License-Identifier: Apache-2.0
#include "slave/applied_file.h"

#include <unistd.h>

#include <cinttypes>
#include <cstdio>

#include "common/base/bytes.h"
#include "common/control/sealed_text.h"

namespace hotbackup::slave {
namespace {

constexpr std::string_view kAppliedTitle = "hotbackup applied 1";
constexpr std::string_view kSeedingTitle = "hotbackup seeding 1";

std::string applied_path(const control::Group& group) {
  return group.directory() + "/applied";
}
std::string seeding_path(const control::Group& group) {
  return group.directory() + "/seeding";
}

}  // namespace

// A process that died, or whose sync failed, may have left a name that a power loss takes away:
// what is believed here is durable first.
Result<std::optional<AppliedRange>> read_applied(const control::Group& group) {
  HOTBACKUP_ASSIGN(auto directory, os::open_directory(group.directory(), group.permissions()));
  HOTBACKUP_TRY(directory->sync());
  auto text = control::read_sealed(applied_path(group), kAppliedTitle);
  if (!text && text.error().code() == ErrorCode::kNotFound) return std::nullopt;
  if (!text) return fail(std::move(text).error());
  AppliedRange range;
  if (std::sscanf(text->c_str(), "lower %" SCNu64 "\nupper %" SCNu64 "\n", &range.lower.value,
                  &range.upper.value) != 2 ||
      range.lower > range.upper)
    return fail(ErrorCode::kCorrupt, applied_path(group) + " is damaged");
  return range;
}

Result<> write_applied(const control::Group& group, const AppliedRange& range) {
  const std::string lines = "lower " + std::to_string(range.lower.value) + "\nupper " +
                            std::to_string(range.upper.value) + "\n";
  return control::write_sealed(applied_path(group), kAppliedTitle, lines, group.permissions());
}

// Paths are written in hexadecimal: they may hold any byte.
Result<std::optional<std::vector<std::string>>> read_seeding(const control::Group& group) {
  auto text = control::read_sealed(seeding_path(group), kSeedingTitle);
  if (!text && text.error().code() == ErrorCode::kNotFound) return std::nullopt;
  if (!text) return fail(std::move(text).error());
  std::vector<std::string> paths;
  for (std::size_t from = 0; from < text->size();) {
    const std::size_t end = text->find('\n', from);
    const auto path = unhex(std::string_view(*text).substr(from, end - from));
    if (end == std::string::npos || !path)
      return fail(ErrorCode::kCorrupt, seeding_path(group) + " is damaged");
    paths.push_back(*path);
    from = end + 1;
  }
  return paths;
}

Result<> write_seeding(const control::Group& group, const std::vector<std::string>& paths) {
  std::string lines;
  for (const std::string& path : paths) lines += hex(path) + "\n";
  return control::write_sealed(seeding_path(group), kSeedingTitle, lines, group.permissions());
}

Result<> remove_seeding(const control::Group& group) {
  if (::unlink(seeding_path(group).c_str()) != 0 && errno != ENOENT)
    return fail_errno("removing " + seeding_path(group));
  HOTBACKUP_ASSIGN(auto directory, os::open_directory(group.directory(), group.permissions()));
  return directory->sync();
}

}  // namespace hotbackup::slave
