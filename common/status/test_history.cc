// SPDX-License-Identifier: Apache-2.0
#include "common/status/test_history.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <deque>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/os/ownership.h"
#include "common/os/unique_fd.h"

namespace hotbackup::status {
namespace {

using nlohmann::ordered_json;

constexpr off_t kBytesMax = 8 << 20;  // about a month of two a minute; the file before is kept

std::string path_of(const std::string& directory) {
  return directory + "/tests";
}

std::optional<TestResult> parse(const std::string& line) {
  const auto json = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("time_ns") || !json["time_ns"].is_number_integer() ||
      !json.contains("number") || !json["number"].is_number_unsigned())
    return std::nullopt;
  TestResult test{WallTime(std::chrono::nanoseconds(json["time_ns"].get<std::int64_t>())),
                  UpdateNumber(json["number"].get<std::uint64_t>()),
                  {},
                  {},
                  std::nullopt};
  if (json.contains("peer") && json["peer"].is_string()) test.peer = json["peer"];
  if (json.contains("result") && json["result"].is_string()) test.result = json["result"];
  if (json.contains("round_trip_ms") && json["round_trip_ms"].is_number())
    test.round_trip_ms = json["round_trip_ms"].get<double>();
  return test;
}

}  // namespace

Result<> note_test(control::Group& group, const TestResult& test) {
  const std::string path = path_of(group.directory());
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && status.st_size > kBytesMax)
    (void)::rename(path.c_str(), (path + ".1").c_str());
  const ordered_json line{{"time", iso8601(test.time)},
                          {"time_ns", test.time.time_since_epoch().count()},
                          {"number", test.number.value},
                          {"peer", test.peer},
                          {"result", test.result},
                          {"round_trip_ms", test.round_trip_ms ? ordered_json(*test.round_trip_ms)
                                                               : ordered_json(nullptr)}};
  const std::string text = line.dump() + "\n";
  const os::UniqueFd file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return fail_errno("writing " + path);
  os::Permissions seen = group.permissions();
  seen.mode |= 0440;
  os::give(path, seen);
  return {};
}

std::vector<TestResult> read_tests(const std::string& group_directory, std::size_t most) {
  std::deque<TestResult> last;
  for (const char* suffix : {".1", ""}) {
    std::ifstream file(path_of(group_directory) + suffix);
    for (std::string line; std::getline(file, line);) {
      auto test = parse(line);
      if (!test) continue;
      last.push_back(std::move(*test));
      if (last.size() > most) last.pop_front();
    }
  }
  return {last.begin(), last.end()};
}

std::optional<double> last_round_trip_ms(const std::string& group_directory) {
  std::ifstream file(path_of(group_directory));
  if (!file) return std::nullopt;
  constexpr std::streamoff kTail = 1024;  // holds more than one line
  file.seekg(0, std::ios::end);
  file.seekg(std::max<std::streamoff>(0, std::streamoff(file.tellg()) - kTail));
  std::optional<TestResult> last;
  for (std::string line; std::getline(file, line);)
    if (auto test = parse(line)) last = std::move(test);
  return last ? last->round_trip_ms : std::nullopt;
}

}  // namespace hotbackup::status
