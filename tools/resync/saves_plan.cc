// SPDX-License-Identifier: Apache-2.0
// hotbackup saves --plan: what [group.saves] will do next, and the space it takes.
#include <sys/statvfs.h>

#include <cstdio>
#include <filesystem>

#include "tools/resync/command.h"
#include "tools/resync/saver.h"

namespace hotbackup::resync {
namespace {

std::string when(std::int64_t ns) {
  return iso8601(WallTime(std::chrono::nanoseconds(ns)));
}

/// One that is due already is made by the server's next look.
Json event(const char* kind, const SavePlace& place, std::int64_t time_ns, std::int64_t now_ns) {
  return Json{{"kind", kind},
              {"time", when(std::max(time_ns, now_ns))},
              {"due", time_ns <= now_ns},
              {"into", place.path}};
}

Json space(const config::Saves& saves, const SavePlace& place, std::int64_t now_ns) {
  std::uint64_t used = 0;
  for (const SaveFact& one : place.files) used += one.bytes;
  struct statvfs disk {};
  const bool there = ::statvfs(place.path.c_str(), &disk) == 0;
  const auto expected = expected_bytes(saves, place);
  const Removals removals = next_removals(saves, place, now_ns);
  Json json{{"path", place.path}, {"files", place.files.size()}, {"used_bytes", used}};
  json["expected_bytes"] = expected ? Json(*expected) : Json();
  json["free_bytes"] = there ? Json(disk.f_bavail * disk.f_frsize) : Json();
  json["next_removals"] = removals.paths;
  json["removals_at"] = removals.paths.empty() ? Json() : Json(when(removals.time_ns));
  json["problem"] = place.problem;
  return json;
}

void print(const std::string& name, const Json& events, const Json& places) {
  if (events.empty())
    std::printf("%s  nothing is planned: [group.saves] has neither full nor differential\n",
                name.c_str());
  for (const Json& one : events)
    std::printf("%s  %-12s  %s  into %s\n", one["time"].get<std::string>().c_str(),
                one["kind"].get<std::string>().c_str(), one["due"] ? "due now" : "       ",
                one["into"].get<std::string>().c_str());
  for (const Json& one : places) {
    std::printf("%s  holds %s", one["path"].get<std::string>().c_str(),
                human_bytes(one["used_bytes"]).c_str());
    if (!one["expected_bytes"].is_null())
      std::printf(", about %s once %s", human_bytes(one["expected_bytes"]).c_str(),
                  "as much lies there as is kept");
    if (!one["free_bytes"].is_null())
      std::printf(", %s free", human_bytes(one["free_bytes"]).c_str());
    std::printf("\n");
    for (const Json& path : one["next_removals"])
      std::printf("  goes at %s: %s\n", one["removals_at"].get<std::string>().c_str(),
                  path.get<std::string>().c_str());
    if (const std::string problem = one["problem"]; !problem.empty())
      std::printf("  failed last: %s\n", problem.c_str());
  }
}

}  // namespace

Result<int> print_saves_plan(const Session& session, const std::string& group) {
  HOTBACKUP_ASSIGN(const auto opened, cli::open_group(session, group));
  const config::Saves& saves = opened->settings->saves;
  const SavesPlan plan = read_plan(opened->group->directory());
  const std::int64_t now = wall_now().time_since_epoch().count();
  Json events = Json::array();
  Json places = Json::array();
  for (const SavePlace& place : look_at_places(saves, opened->group->id().to_hex(), plan)) {
    const auto full = next_full(saves, place, now);
    if (full) events.push_back(event("full", place, *full, now));
    // Behind the save that comes first where there is none yet.
    if (const auto next = next_differential(saves, place, now))
      events.push_back(event("differential", place, *next, now));
    else if (saves.differential && full)
      events.push_back(
          event("differential", place,
                std::max(*full, now) + std::chrono::nanoseconds(*saves.differential).count(), now));
    places.push_back(space(saves, place, now));
  }
  std::stable_sort(events.begin(), events.end(), [](const Json& a, const Json& b) {
    return a["time"].get<std::string>() < b["time"].get<std::string>();
  });
  if (session.json)
    std::printf(
        "%s\n",
        Json{{"group", opened->settings->name},
             {"plan",
              Json{{"events", events}, {"places", places}, {"full_seconds", plan.full_seconds}}}}
            .dump(-1, ' ', false, Json::error_handler_t::replace)
            .c_str());
  else
    print(opened->settings->name, events, places);
  return cli::kDone;
}

}  // namespace hotbackup::resync
