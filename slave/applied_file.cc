// SPDX-License-Identifier: Apache-2.0
#include "slave/applied_file.h"

#include <unistd.h>

#include <cinttypes>
#include <cstdio>

#include "common/base/bytes.h"

namespace hotbackup::slave {
namespace {

constexpr std::string_view kAppliedTitle = "hotbackup applied 1\n";
constexpr std::string_view kSeedingTitle = "hotbackup seeding 1\n";

std::string applied_path(const control::Group& group) {
  return group.directory() + "/applied";
}
std::string seeding_path(const control::Group& group) {
  return group.directory() + "/seeding";
}

/// Adds and checks the last line, a hash of all before it.
std::string sealed(std::string text) {
  const std::uint64_t hash = hash64(text);
  return text + "check " + hex({reinterpret_cast<const char*>(&hash), sizeof hash}) + "\n";
}

/// The lines between title and check; kCorrupt when anything is not as sealed() leaves it.
Result<std::string> unsealed(const std::string& path, std::string_view title) {
  HOTBACKUP_ASSIGN(const auto text, os::read_file(path));
  const std::size_t check = text.rfind("check ");
  if (check == std::string::npos || text.substr(0, title.size()) != title || check < title.size() ||
      sealed(text.substr(0, check)) != text)
    return fail(ErrorCode::kCorrupt, path + " is damaged");
  return text.substr(title.size(), check - title.size());
}

}  // namespace

Result<std::optional<AppliedRange>> read_applied(const control::Group& group) {
  auto text = unsealed(applied_path(group), kAppliedTitle);
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
  std::string text(kAppliedTitle);
  text += "lower " + std::to_string(range.lower.value) + "\n";
  text += "upper " + std::to_string(range.upper.value) + "\n";
  return os::replace_file(applied_path(group), sealed(std::move(text)), group.permissions());
}

// Paths are written in hexadecimal: they may hold any byte.
Result<std::optional<std::vector<std::string>>> read_seeding(const control::Group& group) {
  auto text = unsealed(seeding_path(group), kSeedingTitle);
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
  std::string text(kSeedingTitle);
  for (const std::string& path : paths) text += hex(path) + "\n";
  return os::replace_file(seeding_path(group), sealed(std::move(text)), group.permissions());
}

Result<> remove_seeding(const control::Group& group) {
  if (::unlink(seeding_path(group).c_str()) != 0 && errno != ENOENT)
    return fail_errno("removing " + seeding_path(group));
  HOTBACKUP_ASSIGN(auto directory, os::open_directory(group.directory(), group.permissions()));
  return directory->sync();
}

}  // namespace hotbackup::slave
