// SPDX-License-Identifier: Apache-2.0
#include "common/retention/save_schedule.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/base/clock.h"
#include "common/net/child_process.h"
#include "common/os/file.h"

namespace hotbackup::retention {
namespace {

using std::chrono::milliseconds;

constexpr std::chrono::hours kNoLimit{24 * 365};
constexpr milliseconds kGrace{2000};    // until what is unfinished is gone
constexpr milliseconds kShortest{100};  // between two runs, whatever the plan says
constexpr milliseconds kUnplanned{60'000};
/// A clock may be set: the plan is looked at again.
constexpr milliseconds kLongest{30'000};

std::string in_shell(const std::string& word) {
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string plan_path(const std::string& group_directory) {
  return group_directory + "/saves-plan.json";
}

}  // namespace

std::optional<std::int64_t> planned_ns(const std::string& group_directory) {
  const auto text = os::read_file(plan_path(group_directory));
  const auto json =
      text ? nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false) : nlohmann::json();
  if (!json.is_object() || !json.contains("next_ns") || !json["next_ns"].is_number_integer())
    return std::nullopt;
  return json["next_ns"].get<std::int64_t>();
}

asio::awaitable<Result<>> SaveSchedule::make(const std::string& program) {
  net::Command command;
  command.shell = "exec " + in_shell(program) + " --config " + in_shell(configuration_path_) +
                  " scheduled " + configuration_.name;
  command.limit = kNoLimit;
  command.grace = kGrace;
  co_return co_await net::run_command(std::move(command));
}

asio::awaitable<void> SaveSchedule::run(const Result<std::string>& program) {
  const std::string directory = group_.directory();
  // Where saves were made until now, the command takes back what it has said.
  if (!configuration_.saves.any() && ::access(plan_path(directory).c_str(), F_OK) != 0) co_return;
  auto look = [directory] { return planned_ns(directory); };
  std::string said;
  do {
    Result<> done = program ? Result<>() : fail(program.error());
    if (program) done = co_await make(*program);
    if (!done && done.error().code() == ErrorCode::kCancelled) co_return;
    const std::string problem = done ? "" : done.error().text();
    if (!problem.empty() && problem != said)
      spdlog::warn("{}: scheduled saves: {}", configuration_.name, problem);
    said = problem;
    const std::int64_t ended = wall_now().time_since_epoch().count();
    co_await pause_.wait_for(kShortest);
    while (true) {
      const auto planned = co_await disk_.run(look);
      const std::int64_t now = wall_now().time_since_epoch().count();
      const std::int64_t next =
          planned ? *planned : ended + std::chrono::nanoseconds(kUnplanned).count();
      if (now >= next || now < ended) break;
      const auto left = std::chrono::duration_cast<milliseconds>(
          std::chrono::nanoseconds(next - now) + milliseconds(1));
      co_await pause_.wait_for(std::min(left, kLongest));
    }
    // A plan that was not written anew, because the command failed, is in the past: not at once.
    if (!problem.empty()) co_await pause_.wait_for(std::chrono::seconds(1));
  } while (configuration_.saves.any());
}

}  // namespace hotbackup::retention
