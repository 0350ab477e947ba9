// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/places.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "common/base/clock.h"
#include "common/os/file.h"
#include "tools/resync/filtered.h"

namespace hotbackup::resync {

Result<std::vector<std::string>> known_places(control::Group& group) {
  std::vector<std::string> places;
  const auto text = os::read_file(group.directory() + "/save-places");
  if (!text && text.error().code() == ErrorCode::kNotFound) return places;
  if (!text) return fail(text.error());
  std::string line;
  for (const char c : *text) {
    if (c != '\n') {
      line += c;
      continue;
    }
    std::error_code error;
    if (std::filesystem::is_directory(line, error)) places.push_back(line);
    line.clear();
  }
  return places;
}

Result<> note_place(control::Group& group, const std::string& directory) {
  const std::string place = std::filesystem::absolute(directory).lexically_normal();
  HOTBACKUP_ASSIGN(auto places, known_places(group));
  if (std::find(places.begin(), places.end(), place) != places.end() ||
      place.find('\n') != std::string::npos)
    return {};
  places.push_back(place);
  std::string text;
  for (const std::string& one : places) text += one + "\n";
  return os::replace_file(group.directory() + "/save-places", text, group.permissions());
}

namespace {

/// A mark is of the file that lay there when it was made.
std::optional<Json> read_mark(const std::string& path, const char* suffix) {
  const auto text = os::read_file(path + suffix);
  std::error_code error;
  const std::uint64_t bytes = std::filesystem::file_size(path, error);
  if (!text || error) return std::nullopt;
  Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("bytes", std::uint64_t{0}) != bytes) return std::nullopt;
  return json;
}

}  // namespace

std::optional<Json> read_verified(const std::string& path) {
  return read_mark(path, kVerifiedSuffix);
}

std::optional<Json> read_invalid(const std::string& path) {
  return read_mark(path, kInvalidSuffix);
}

Result<> write_verified(const std::string& path, std::uint64_t bytes, const std::string& how) {
  const Json json{{"time", iso8601(wall_now())}, {"how", how}, {"bytes", bytes}};
  HOTBACKUP_TRY(os::replace_file(path + kVerifiedSuffix, json.dump() + "\n", {.mode = 0640}));
  // What the application refused is not good because it can be read.
  if (const auto invalid = read_invalid(path); invalid && invalid->value("how", "") == how)
    ::unlink((path + kInvalidSuffix).c_str());
  return {};
}

Result<> write_invalid(const std::string& path, const std::string& how, const std::string& why) {
  std::error_code error;
  const std::uint64_t bytes = std::filesystem::file_size(path, error);
  const Json json{{"time", iso8601(wall_now())}, {"how", how}, {"bytes", bytes}, {"text", why}};
  ::unlink((path + kVerifiedSuffix).c_str());
  return os::replace_file(path + kInvalidSuffix,
                          json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n",
                          {.mode = 0640});
}

Result<> remove_saved(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno("removing " + path);
  for (const char* suffix : {kVerifiedSuffix, kInvalidSuffix, kInfoSuffix})
    ::unlink((path + suffix).c_str());
  return {};
}

}  // namespace hotbackup::resync
