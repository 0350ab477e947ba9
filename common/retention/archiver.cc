// SPDX-License-Identifier: Apache-2.0
#include "common/retention/archiver.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "common/journal/segment.h"
#include "common/net/child_process.h"

namespace hotbackup::retention {
namespace {

constexpr char kFailed[] = "HB-archive-failed";
constexpr std::chrono::minutes kCommandLimit{10};
constexpr std::chrono::minutes kPauseMax{5};

}  // namespace

Result<std::optional<Segment>> next_to_archive(control::Group& group) {
  HOTBACKUP_ASSIGN(const auto record, read_record(group));
  HOTBACKUP_ASSIGN(const auto segments, segments_of(group));
  for (const Segment& segment : segments) {
    if (segment.active || segment.last > group.published()) break;
    if (segment.last > record.archived) return segment;
  }
  return std::nullopt;
}

std::string expand_archive_command(const std::string& command, const std::string& path,
                                   const std::string& name) {
  std::string out;
  for (std::size_t i = 0; i < command.size(); ++i) {
    if (command[i] != '%' || i + 1 == command.size()) {
      out += command[i];
      continue;
    }
    const char what = command[++i];
    out += what == 'p' ? path : what == 'f' ? name : std::string(1, what);
  }
  return out;
}

asio::awaitable<void> Archiver::run() {
  if (configuration_.archive.empty()) {
    group_.incidents().clear(kFailed);
    co_return;
  }
  const std::chrono::milliseconds shortest = configuration_.check_period;
  std::chrono::milliseconds pause = shortest;
  control::Group& group = group_;
  auto look = [&group] { return next_to_archive(group); };
  while (true) {
    const auto segment = co_await disk_.run(look);
    if (segment && !*segment) {
      co_await pause_.wait_for(shortest);
      continue;
    }
    Result<> done = fail(ErrorCode::kIo, "");
    if (segment)
      done = co_await archive(**segment);
    else
      done = fail(segment.error());
    if (done) {
      pause = shortest;
      continue;
    }
    if (done.error().code() == ErrorCode::kCancelled) co_return;
    tell(segment ? **segment : Segment{}, done.error());
    co_await pause_.wait_for(pause);
    pause = std::min<std::chrono::milliseconds>(
        2 * pause, std::max<std::chrono::milliseconds>(shortest, kPauseMax));
  }
}

asio::awaitable<Result<>> Archiver::archive(Segment segment) {
  const std::string name = journal::segment_name(segment.first);
  net::Command command;
  command.shell =
      expand_archive_command(configuration_.archive, group_.directory() + "/journal/" + name, name);
  command.environment = {{"HOTBACKUP_GROUP", configuration_.name},
                         {"HOTBACKUP_NODE", std::string(group_.layout().node_name)}};
  command.limit = kCommandLimit;
  Result<> ran = co_await net::run_command(std::move(command));
  if (!ran) co_return ran;
  control::Group& group = group_;
  auto note = [&group, last = segment.last] {
    return change_record(group, [last](Record& record) { record.archived = last; });
  };
  Result<> noted = co_await disk_.run(note);
  if (!noted) co_return noted;
  group_.incidents().clear(kFailed);
  if (!told_.empty()) spdlog::info("{}: archived {}", configuration_.name, name);
  told_.clear();
  co_return Result<>();
}

void Archiver::tell(const Segment& segment, const Error& error) {
  const std::string text =
      "archiving " + journal::segment_name(segment.first) + ": " + error.text();
  group_.incidents().raise(kFailed, "", text);
  if (text != told_) spdlog::error("{}: {}", configuration_.name, text);
  told_ = text;
}

}  // namespace hotbackup::retention
