// SPDX-License-Identifier: Apache-2.0
#include "common/retention/archiver.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/use_future.hpp>

#include "common/journal/segment.h"
#include "common/net/child_process.h"

namespace hotbackup::retention {
namespace {

constexpr char kFailed[] = "HB-archive-failed";
constexpr std::chrono::minutes kCommandLimit{10};
constexpr std::chrono::minutes kPauseMax{5};

net::Command command_for(control::Group& group, const config::Group& configuration,
                         const Segment& segment) {
  const std::string name = journal::segment_name(segment.first);
  net::Command command;
  command.shell =
      expand_archive_command(configuration.archive, group.directory() + "/journal/" + name, name);
  command.environment = {{"HOTBACKUP_GROUP", configuration.name},
                         {"HOTBACKUP_NODE", std::string(group.layout().node_name)}};
  command.limit = kCommandLimit;
  return command;
}

std::string tell_failed(control::Group& group, const Segment& segment, const Error& error) {
  std::string text = "archiving " + journal::segment_name(segment.first) + ": " + error.text();
  group.incidents().raise(kFailed, "", text);
  return text;
}

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

// The loop takes the closed ones, so that no segment is handed out twice at a time; the active one
// is taken here, and is as it stays.
Result<> archive_rest(control::Group& group, const config::Group& configuration) {
  if (configuration.archive.empty() || group.made().value == 0) return {};
  HOTBACKUP_TRY(group.journal().sync_through(group.made()));
  HOTBACKUP_ASSIGN(const auto segments, segments_of(group));
  HOTBACKUP_ASSIGN(const auto record, read_record(group));
  const UpdateNumber made = group.made();
  if (segments.empty() || made <= record.archived) return {};
  if (const auto waiting = std::ranges::find_if(
          segments, [&](const Segment& one) { return !one.active && one.last > record.archived; });
      waiting != segments.end())
    return fail(ErrorCode::kBusy, "the archive command has not taken " +
                                      journal::segment_name(waiting->first) +
                                      " yet, and a seed would remove it");
  const Segment& active = segments.back();
  if (active.first > made) return {};
  asio::io_context io;
  auto ran = asio::co_spawn(io, net::run_command(command_for(group, configuration, active)),
                            asio::use_future);
  io.run();
  if (const Result<> done = ran.get(); !done)
    return fail(ErrorCode::kBusy, tell_failed(group, active, done.error()));
  group.incidents().clear(kFailed);
  return change_record(group, [made](Record& changed) { changed.archived = made; });
}

Result<> restart_archive_after(control::Group& group, UpdateNumber number) {
  return change_record(
      group, [number](Record& record) { record.archived = std::min(record.archived, number); });
}

asio::awaitable<Result<>> Archiver::archive(Segment segment) {
  const std::string name = journal::segment_name(segment.first);
  net::Command command = command_for(group_, configuration_, segment);
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
  const std::string text = tell_failed(group_, segment, error);
  if (text != told_) spdlog::error("{}: {}", configuration_.name, text);
  told_ = text;
}

}  // namespace hotbackup::retention
