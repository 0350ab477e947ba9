// SPDX-License-Identifier: Apache-2.0
// hotbackup unlink: turns capture off again. The group is marked off before its links go, so that
// no program can be captured half.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "tools/hotbackup/capture_link.h"
#include "tools/hotbackup/command_log.h"
#include "tools/hotbackup/disk.h"

namespace hotbackup::cli {
namespace {

struct UnlinkOptions {
  std::string group;
  bool yes = false;
  bool dry_run = false;
};

std::string parent_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

/// Where init and the slave server put links: in and beside everything the group knows.
Result<std::set<std::string>> possible_places(const std::string& directory) {
  HOTBACKUP_ASSIGN(const control::GroupRecord record, control::read_group_file(directory));
  std::set<std::string> places;
  for (const control::PatternRecord& pattern : record.patterns) {
    places.insert(pattern.path);
    places.insert(parent_of(pattern.path));
  }
  for (const control::EnvironmentRecord& environment : record.environments) {
    places.insert(environment.path);
    places.insert(parent_of(environment.path));
  }
  return places;
}

Result<> confirm(const std::string& group) {
  if (::isatty(STDIN_FILENO) == 0)
    return fail(ErrorCode::kConfig, "this ends the capture of group " + group +
                                        ": without a terminal to ask at, add --yes");
  std::fprintf(
      stderr,
      "Programs that write to group %s will not be captured any more, and its history ends; "
      "the data stay. Go on? [y/N] ",
      group.c_str());
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "yes") return {};
  return fail(ErrorCode::kCancelled, "nothing was changed");
}

void print(const Session& session, const std::string& group, const std::vector<std::string>& links,
           bool dry_run) {
  if (session.json) {
    nlohmann::ordered_json out{{"group", group}, {"removed", links}, {"dry_run", dry_run}};
    std::printf("%s\n", out.dump().c_str());
    return;
  }
  std::printf("%s  capture %s off; the data stay\n", group.c_str(), dry_run ? "would be" : "is");
  for (const std::string& link : links)
    std::printf("  %s  %s\n", dry_run ? "would be removed" : "removed", link.c_str());
}

Result<int> unlink_group(const Session& session, const UnlinkOptions& options) {
  HOTBACKUP_ASSIGN(const auto opened, open_group(session, options.group));
  control::Group& group = *opened->group;
  const std::string& directory = group.directory();
  HOTBACKUP_ASSIGN(const auto places, possible_places(directory));
  if (options.dry_run) {
    std::vector<std::string> links;
    for (const std::string& place : places) {
      const auto found = examine_capture_link(place, directory);
      if (found && *found == CaptureLink::kOurs) links.push_back(place + "/" + kCaptureLinkName);
    }
    print(session, opened->settings->name, links, true);
    return kDone;
  }
  if (!options.yes) HOTBACKUP_TRY(confirm(opened->settings->name));

  HOTBACKUP_TRY(log_command(session, directory));
  HOTBACKUP_TRY(group.turn_off());
  std::vector<std::string> removed;
  for (const std::string& place : places) {
    HOTBACKUP_ASSIGN(const bool was_there, remove_capture_link(place, directory));
    if (was_there) removed.push_back(place + "/" + kCaptureLinkName);
  }
  print(session, opened->settings->name, removed, false);
  return kDone;
}

}  // namespace

void add_unlink(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("unlink", "Turns capture off again and leaves the data");
  auto options = std::make_shared<UnlinkOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_flag("--dry-run", options->dry_run, "says what would be done and changes nothing");
  command->add_flag("--yes", options->yes, "does not ask; needed without a terminal");
  command->callback([&session, options] {
    session.action = [&session, options] { return unlink_group(session, *options); };
  });
}

}  // namespace hotbackup::cli
