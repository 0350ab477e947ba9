// SPDX-License-Identifier: Apache-2.0
// hotbackup drill: a writable copy at one number, under another name and without peers, to rehearse
// on. The group itself goes on as if nothing happened.
#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "common/os/file.h"
#include "common/os/unique_fd.h"
#include "tools/hotbackup/command_log.h"
#include "tools/resync/command.h"
#include "tools/resync/hook.h"
#include "tools/resync/post_restore.h"
#include "tools/resync/restore.h"
#include "tools/resync/save.h"
#include "tools/resync/streams.h"

namespace hotbackup::resync {
namespace {

using std::chrono::steady_clock;

struct DrillOptions {
  std::string group;
  std::string action;
  std::string into;
};

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

std::string state_path(const control::Group& group) {
  return group.directory() + "/drill.json";
}

/// A database that comes and goes: what an application's first write needs, and no trace of it.
Result<> write_once(const Restored& restored) {
  for (const auto& one : restored.environments) {
    HOTBACKUP_ASSIGN(auto copy, slave::Copy::open(one.path, one.body.subdirectory));
    HOTBACKUP_ASSIGN(auto txn, copy->begin());
    MDB_dbi dbi = 0;
    if (const int rc = mdb_dbi_open(txn.get(), "hotbackup-drill", MDB_CREATE, &dbi); rc != 0)
      return lmdb::fail_lmdb("the first write in " + one.path, rc);
    if (const int rc = mdb_drop(txn.get(), dbi, 1); rc != 0)
      return lmdb::fail_lmdb("the first write in " + one.path, rc);
    HOTBACKUP_TRY(txn.commit());
    HOTBACKUP_TRY(copy->environment().sync());
  }
  return {};
}

/// <group>/drills.log, a JSON object a line, for reports.
Result<> keep_times(const control::Group& group, const Json& times) {
  const std::string path = group.directory() + "/drills.log";
  const os::UniqueFd file(
      ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
  const std::string line = times.dump() + "\n";
  if (!file || ::write(file.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    return fail_errno("writing " + path);
  return {};
}

Result<Restored> make_copy(cli::OpenGroup& opened, const std::string& directory) {
  const std::string file = directory + "/.drill.hbs";
  ::unlink(file.c_str());
  {
    HOTBACKUP_ASSIGN(auto save, Save::begin(*opened.group, opened.settings));
    HOTBACKUP_ASSIGN(auto sink, make_file_sink(file, ""));
    HOTBACKUP_TRY(save->write(*sink, {}));
    HOTBACKUP_TRY(sink->finish());
  }
  Found found;
  found.path = file;
  RestoreWay way;
  way.files_root = directory + "/files";
  way.place = [&directory](const update::EnvironmentBody& body, const Json&) -> Result<Place> {
    return Place{directory + "/" + body.name, {}};
  };
  Restore restore(std::move(way));
  auto restored = restore.run({&found, {}, 0}, {});
  ::unlink(file.c_str());
  return restored;
}

/// The copy stays where the hook fails: somebody wants to look at it.
Result<> run_drill_hook(cli::OpenGroup& opened, const std::string& directory,
                        const Restored& restored, Json& times) {
  if (opened.settings->drill.empty()) return {};
  std::vector<std::string> places;
  for (const auto& one : restored.environments) places.push_back(one.body.name + "=" + one.path);
  auto environment = hook_environment(opened.group.get(), places);
  environment.push_back("HOTBACKUP_INTO=" + directory);
  const auto began = steady_clock::now();
  auto ran = run_hook(opened.settings->drill, "drill", opened.settings->name,
                      restored.position.number, environment);
  times["hook_seconds"] = seconds_since(began);
  times["hook"] = ran ? "" : ran.error().text();
  return ran;
}

Result<int> start(const Session& session, const DrillOptions& options) {
  if (options.into.empty()) return fail(ErrorCode::kConfig, "drill start needs --into DIR");
  HOTBACKUP_ASSIGN(const auto opened, cli::open_group(session, options.group));
  control::Group& group = *opened->group;
  if (os::read_file(state_path(group)))
    return fail(ErrorCode::kFenced, "a drill of group " + opened->settings->name +
                                        " is on: end it first (hotbackup drill " +
                                        opened->settings->name + " end)");
  const std::string directory = std::filesystem::absolute(options.into).lexically_normal();
  std::error_code error;
  if (std::filesystem::exists(directory, error) && !std::filesystem::is_empty(directory, error))
    return fail(ErrorCode::kRefused, directory + " is not empty: a drill throws its place away");
  HOTBACKUP_TRY(os::make_directories(directory, {.mode = 0750}));
  HOTBACKUP_TRY(cli::log_command(session, group.directory()));
  const auto began = steady_clock::now();
  Json times{{"event", "start"}, {"time", iso8601(wall_now())}, {"into", directory}};
  HOTBACKUP_TRY(os::replace_file(state_path(group), times.dump() + "\n", group.permissions()));
  auto restored = make_copy(*opened, directory);
  auto written = restored ? write_once(*restored) : Result<>{};
  if (!restored || !written) {
    ::unlink(state_path(group).c_str());
    std::filesystem::remove_all(directory, error);
    return fail(restored ? written.error() : restored.error());
  }
  times["number"] = restored->position.number.value;
  times["items"] = restored->items;
  times["first_write_seconds"] = seconds_since(began);
  const Result<> hook = run_drill_hook(*opened, directory, *restored, times);
  HOTBACKUP_TRY(os::replace_file(state_path(group), times.dump() + "\n", group.permissions()));
  HOTBACKUP_TRY(keep_times(group, times));
  if (session.json) {
    std::printf("%s\n", times.dump().c_str());
  } else {
    std::printf("%s  drill at update %s in %s: first write after %s\n",
                opened->settings->name.c_str(),
                human_count(restored->position.number.value).c_str(), directory.c_str(),
                human_duration(steady_clock::now() - began).c_str());
    for (const auto& one : restored->environments)
      std::printf("  %s  %s\n", one.body.name.c_str(), one.path.c_str());
    if (hook && !opened->settings->drill.empty()) std::printf("  the drill hook has succeeded\n");
  }
  if (hook) return cli::kDone;
  std::fprintf(stderr, "hotbackup-resync: HB-hook-failed: %s\n", hook.error().text().c_str());
  return cli::kNeedsYou;
}

Result<int> end(const Session& session, const DrillOptions& options) {
  HOTBACKUP_ASSIGN(const auto opened, cli::open_group(session, options.group));
  control::Group& group = *opened->group;
  const auto text = os::read_file(state_path(group));
  if (!text)
    return fail(ErrorCode::kFenced, "no drill of group " + opened->settings->name + " is on");
  const Json began = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  const std::string directory = began.is_object() ? began.value("into", "") : "";
  if (!directory.starts_with('/') || directory == "/")
    return fail(ErrorCode::kCorrupt, state_path(group) + " is damaged: remove it, and the copy");
  std::error_code error;
  std::filesystem::remove_all(directory, error);
  if (error) return fail_errno("removing " + directory, error.value());
  const Json times{{"event", "end"},
                   {"time", iso8601(wall_now())},
                   {"started", began.value("time", "")},
                   {"number", began.value("number", std::uint64_t{0})}};
  HOTBACKUP_TRY(keep_times(group, times));
  ::unlink(state_path(group).c_str());
  if (session.json)
    std::printf("%s\n", times.dump().c_str());
  else
    std::printf("%s  the drill's copy is gone; its times are kept\n",
                opened->settings->name.c_str());
  return cli::kDone;
}

Result<int> drill(const Session& session, DrillOptions options) {
  if (options.action.empty()) std::swap(options.group, options.action);  // the only group
  if (options.action == "start") return start(session, options);
  if (options.action == "end") return end(session, options);
  return fail(ErrorCode::kConfig, "drill GROUP start --into DIR, or drill GROUP end");
}

}  // namespace

void add_drill(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "drill", "A writable copy to rehearse on, thrown away at the end; receiving goes on");
  auto options = std::make_shared<DrillOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("ACTION", options->action, "start or end");
  command->add_option("--into", options->into, "an empty or new directory")->type_name("DIR");
  command->callback([&session, options] {
    session.action = [&session, options] { return drill(session, *options); };
  });
}

}  // namespace hotbackup::resync
