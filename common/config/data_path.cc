// SPDX-License-Identifier: Apache-2.0
#include "common/config/data_path.h"

#include <algorithm>
#include <filesystem>

#include "common/config/quantity.h"

namespace hotbackup::config {
namespace {

constexpr std::size_t kPathBytesMax = 3072;  // leaves room for what is put behind it

bool one_begins_the_other(std::string_view a, std::string_view b) {
  return a.starts_with(b) || b.starts_with(a);
}
bool one_ends_the_other(std::string_view a, std::string_view b) {
  return a.ends_with(b) || b.ends_with(a);
}

bool matches(const DataPath& pattern, const DataPath& path) {
  const std::filesystem::path whole(path.text);
  const std::string name = whole.filename();
  return whole.parent_path() == pattern.directory &&
         name.size() >= pattern.prefix.size() + pattern.suffix.size() &&
         name.starts_with(pattern.prefix) && name.ends_with(pattern.suffix);
}

}  // namespace

Result<std::string> parse_absolute_path(std::string_view text) {
  const auto wrong = [&](std::string_view why) {
    return fail(ErrorCode::kConfig, in_quotes(text) + " " + std::string(why));
  };
  if (!text.starts_with('/')) return wrong("is not an absolute path");
  if (text.size() > kPathBytesMax) return wrong("is too long");
  if (std::any_of(text.begin(), text.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20; })) {
    return wrong("has control characters in it");
  }
  const std::filesystem::path path(text);
  // What ".." means depends on symbolic links.
  if (std::find(path.begin(), path.end(), "..") != path.end()) return wrong("has '..' in it");
  std::string normal = path.lexically_normal();
  while (normal.size() > 1 && normal.ends_with('/')) normal.pop_back();
  return normal;
}

Result<DataPath> parse_data_path(std::string_view text) {
  DataPath path;
  HOTBACKUP_ASSIGN(path.text, parse_absolute_path(text));
  if (path.text == "/") return fail(ErrorCode::kConfig, "'/' cannot be an environment");
  const std::size_t star = path.text.find('*');
  if (star == std::string::npos) return path;
  const std::size_t slash = path.text.rfind('/');
  if (star < slash || path.text.find('*', star + 1) != std::string::npos) {
    return fail(ErrorCode::kConfig,
                in_quotes(text) + " is not a pattern: one '*', in the last part of the path");
  }
  path.is_pattern = true;
  path.directory = slash == 0 ? "/" : path.text.substr(0, slash);
  path.prefix = path.text.substr(slash + 1, star - slash - 1);
  path.suffix = path.text.substr(star + 1);
  return path;
}

std::optional<std::string> conflict(const DataPath& a, const DataPath& b, bool same_group) {
  if (!a.is_pattern && b.is_pattern) return conflict(b, a, same_group);
  if (a.text == b.text) return "two environments have the path " + in_quotes(a.text);
  if (!a.is_pattern) return std::nullopt;
  const std::string both = in_quotes(a.text) + " and " + in_quotes(b.text);
  if (b.is_pattern) {
    if (a.directory != b.directory) return std::nullopt;
    if (!same_group) return both + " are in one directory, which belongs to one group";
    if (one_begins_the_other(a.prefix, b.prefix) && one_ends_the_other(a.suffix, b.suffix)) {
      return both + " can match the same file";
    }
    return std::nullopt;
  }
  if (matches(a, b)) return in_quotes(a.text) + " matches " + in_quotes(b.text);
  if (!same_group && b.text == a.directory) {
    return both + " are in one directory, which belongs to one group";
  }
  return std::nullopt;
}

}  // namespace hotbackup::config
