// SPDX-License-Identifier: Apache-2.0
// hotbackup saves: what lies there, and what can be restored from it. From the files alone.
#include <cstdio>
#include <filesystem>
#include <set>

#include "tools/resync/command.h"
#include "tools/resync/history.h"
#include "tools/resync/places.h"
#include "tools/resync/streams.h"

namespace hotbackup::resync {
namespace {

struct SavesOptions {
  std::string group;
  std::vector<std::string> from;
  bool plan = false;
};

Json describe(const Found& one) {
  Json json{{"kind", one.segment ? "segment" : one.volume ? "volume" : "save"}, {"path", one.path}};
  if (!one.problem.empty()) {
    json["problem"] = one.problem;
    return json;
  }
  if (one.volume) {
    json["first"] = one.first();
    json["last"] = one.last();
    json["predecessor"] = one.head.value("predecessor", "");
  } else {
    json["number"] = one.number();
    json["items"] = one.end.value("items", std::uint64_t{0});
    json["content_hash"] = one.end.value("content_hash", "");
  }
  json["time"] = one.head.value("time", "");
  json["bytes"] = one.bytes;
  if (one.filtered) json["filtered"] = true;
  const auto verified = read_verified(one.path);
  json["verified"] = verified ? Json((*verified).value("time", "")) : Json();
  if (verified) json["verified_how"] = verified->value("how", "");
  return json;
}

void print(const Found& one) {
  if (!one.problem.empty()) {
    std::printf("INVALID %s\n", one.problem.c_str());
    return;
  }
  const auto verified = read_verified(one.path);
  const std::string seen =
      verified ? "verified (" + verified->value("how", "") + ") " + verified->value("time", "")
               : "not verified";
  if (one.volume)
    std::printf("%s %s … %s  %s  %s  %s  %s\n", one.segment ? "segment" : "volume ",
                human_count(one.first()).c_str(), human_count(one.last()).c_str(),
                one.head.value("time", "").c_str(), human_bytes(one.bytes).c_str(),
                one.path.c_str(), seen.c_str());
  else
    std::printf("save    %s  %s  %s  %s  %s\n", human_count(one.number()).c_str(),
                one.head.value("time", "").c_str(), human_bytes(one.bytes).c_str(),
                one.path.c_str(), seen.c_str());
}

Result<int> saves(const Session& session, const SavesOptions& options) {
  if (options.plan) return print_saves_plan(session, options.group);
  std::vector<std::string> from = options.from;
  if (from.empty()) {
    HOTBACKUP_ASSIGN(const auto opened, cli::open_group(session, options.group));
    HOTBACKUP_ASSIGN(from, known_places(*opened->group));
    for (const std::string& place : opened->settings->saves.into)
      if (std::filesystem::is_directory(place) &&
          std::find(from.begin(), from.end(), place) == from.end())
        from.push_back(place);
    if (from.empty())
      return fail(ErrorCode::kNotFound, "group " + opened->settings->name +
                                            " was not saved into a directory yet; --from names "
                                            "one");
  }
  HOTBACKUP_ASSIGN(const auto found, find_files(from, Segments::kTake));
  std::vector<std::string> interrupted;
  for (const std::string& place : from)
    for (const std::string& path : interrupted_in(place)) interrupted.push_back(path);
  std::set<std::string> ids;
  for (const Found& one : found)
    if (one.problem.empty() && (options.group.empty() || one.group() == options.group))
      ids.insert(one.group_id());
  Json list = Json::array();
  Json ranges = Json::array();
  for (const std::string& id : ids) {
    std::string name;
    for (const Found& one : found)
      if (one.group_id() == id) name = one.group();
    const std::string range = describe_range(found, id);
    ranges.push_back(Json{{"group", name}, {"group_id", id}, {"range", range}});
    if (!session.json) std::printf("%s  can be restored: %s\n", name.c_str(), range.c_str());
  }
  for (const Found& one : found) {
    if (one.problem.empty() && !ids.contains(one.group_id())) continue;
    list.push_back(describe(one));
    if (!session.json) print(one);
  }
  for (const std::string& path : interrupted)
    if (!session.json) std::printf("interrupted: %s, of no use\n", path.c_str());
  if (session.json)
    std::printf("%s\n", Json{{"saves", std::move(list)},
                             {"restorable", std::move(ranges)},
                             {"interrupted", interrupted}}
                            .dump(-1, ' ', false, Json::error_handler_t::replace)
                            .c_str());
  return cli::kDone;
}

}  // namespace

void add_saves(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "saves", "Saves and volumes: number, time, size, place; what can be restored");
  auto options = std::make_shared<SavesOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("--from", options->from,
                      "directories (default: those that save and export have written to)");
  command
      ->add_flag("--plan", options->plan,
                 "what [group.saves] does next, the space it takes, what goes then")
      ->excludes("--from");
  command->callback([&session, options] {
    session.action = [&session, options] { return saves(session, *options); };
  });
}

}  // namespace hotbackup::resync
