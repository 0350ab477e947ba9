// SPDX-License-Identifier: Apache-2.0
// hotbackup status: a verdict first, then the numbers it comes from.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "tools/hotbackup/verdict.h"

namespace hotbackup::cli {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kEnvironmentLinesMax = 8;

struct StatusOptions {
  std::string group;
  bool watch = false;
  bool check = false;
};

double seconds_since(WallTime now, const std::optional<WallTime>& then) {
  if (!then || now < *then) return 0;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now - *then).count();
  return static_cast<double>(ms) / 1000;
}

ordered_json time_or_null(const std::optional<WallTime>& time) {
  return time ? ordered_json(iso8601(*time)) : ordered_json(nullptr);
}

ordered_json peers_json(const GroupStatus& status) {
  ordered_json peers = ordered_json::array();
  for (const PeerStatus& peer : status.peers)
    peers.push_back(
        {{"name", peer.name},
         {"state", peer_state(status, peer)},
         {"text", peer.text},
         {"way_home", peer.way_home == control::WayHome::kUnknown
                          ? ordered_json(nullptr)
                          : ordered_json(peer.way_home == control::WayHome::kReaches)},
         {"seeded", peer.seeded},
         {"needs_seed", peer.needs_seed},
         {"pins", peer.pins ? ordered_json(*peer.pins) : ordered_json(nullptr)},
         {"sent", peer.sent},
         {"journaled", peer.journaled},
         {"applied", peer.applied},
         {"heard", time_or_null(peer.heard)},
         {"heard_seconds", peer.heard ? ordered_json(seconds_since(status.now, peer.heard))
                                      : ordered_json(nullptr)}});
  return peers;
}

const char* applying_word(control::ApplyState state) {
  if (state == control::ApplyState::kPaused) return "paused";
  return state == control::ApplyState::kStopped ? "stopped" : "running";
}

ordered_json journal_json(const JournalStatus& journal) {
  const auto or_null = [](const std::optional<std::uint64_t>& number) {
    return number ? ordered_json(*number) : ordered_json(nullptr);
  };
  return {{"first", journal.first},
          {"segments", journal.segments},
          {"bytes", journal.bytes},
          {"limit_bytes", or_null(journal.limit_bytes)},
          {"at_limit", journal.at_limit},
          {"kept_for", journal.kept_for},
          {"archived", or_null(journal.archived)}};
}

ordered_json to_json(const GroupStatus& status) {
  ordered_json out;
  const Verdict verdict = judge(status);
  out["name"] = status.name;
  out["node"] = status.node;
  out["role"] = role_name(status.role);
  out["epoch"] = status.epoch;
  out["known_epoch"] = status.known_epoch;
  out["state"] = group_state(status);
  out["verdict"] = verdict_line(status, verdict);
  out["good"] = verdict.good;
  out["made"] = status.made;
  out["published"] = status.published;
  out["sent"] = status.sent;
  out["journaled"] = status.journaled;
  out["applied"] = status.applied;
  if (status.role == control::Role::kSlave) {
    out["applying"] = applying_word(status.applying);
    out["stopped_at"] =
        status.stopped_at == 0 ? ordered_json(nullptr) : ordered_json(status.stopped_at);
  }
  out["queue_updates"] = status.queue.updates;
  out["queue_bytes"] = status.queue.bytes;
  out["lag_seconds"] = seconds_since(status.now, status.behind.oldest);
  out["exposure_updates"] = status.exposure.updates;
  out["exposure_seconds"] = seconds_since(status.now, status.exposure.oldest);
  out["loss_limit"] = control::describe(status.limit);
  out["at_limit"] = control::at_limit_name(status.limit.at_limit);
  out["limit_passed"] = status.limit_passed;
  out["limit_refuses"] = status.limit_refuses;
  out["writers_wait"] = status.writers_wait;
  out["test_round_trip_ms"] =
      status.test_round_trip_ms ? ordered_json(*status.test_round_trip_ms) : ordered_json(nullptr);
  out["master_name"] = status.master_name;
  out["master_address"] =
      status.master_address.empty() ? ordered_json(nullptr) : ordered_json(status.master_address);
  out["peers"] = peers_json(status);
  out["journal"] = journal_json(status.journal);
  out["environments"] = ordered_json::array();
  for (const EnvironmentStatus& environment : status.environments)
    out["environments"].push_back({{"number", environment.number},
                                   {"name", environment.name},
                                   {"path", environment.path},
                                   {"unlogged", environment.unlogged}});
  out["incidents"] = ordered_json::array();
  for (const Incident& incident : status.incidents)
    out["incidents"].push_back({{"code", incident.code},
                                {"severity", incident.severity},
                                {"time", time_or_null(incident.time)},
                                {"text", incident.text},
                                {"action", incident.action},
                                {"cleared", nullptr}});
  out["server"] = {
      {"program", status.server.program},
      {"alive", status.server.alive},
      {"pid", status.server.alive ? ordered_json(status.server.pid) : ordered_json(nullptr)},
      {"started", time_or_null(status.server.started)},
      {"stopped", time_or_null(status.server.stopped)},
      {"last_alive", time_or_null(status.server.last_alive)}};
  return out;
}

void print_environments(const GroupStatus& status) {
  const std::size_t count = status.environments.size();
  for (std::size_t i = 0; i < std::min(count, kEnvironmentLinesMax); ++i) {
    const EnvironmentStatus& environment = status.environments[i];
    std::printf("  %-10s %s%s\n", environment.name.c_str(), environment.path.c_str(),
                environment.unlogged ? "  (written without capture)" : "");
  }
  if (count > kEnvironmentLinesMax)
    std::printf("  … and %zu more environments\n", count - kEnvironmentLinesMax);
}

void print_journal(const JournalStatus& journal) {
  std::printf("  journal    from update %s, %s", human_count(journal.first).c_str(),
              human_bytes(journal.bytes).c_str());
  if (journal.limit_bytes) std::printf(" of %s", human_bytes(*journal.limit_bytes).c_str());
  if (!journal.kept_for.empty()) std::printf(", kept for %s", journal.kept_for.c_str());
  if (journal.archived)
    std::printf("; archived through %s", human_count(*journal.archived).c_str());
  std::printf("\n");
}

void print(const GroupStatus& status) {
  std::printf("%s\n", verdict_line(status, judge(status)).c_str());
  if (!status.initialised || status.role == control::Role::kNone) return;
  const auto count = [](std::uint64_t number) { return human_count(number); };
  const auto updates = [](std::uint64_t number) {
    return human_count(number) + (number == 1 ? " update" : " updates");
  };
  const auto since = [&](const std::optional<WallTime>& then) {
    return then ? human_duration(status.now - *then) : std::string("0 s");
  };
  std::printf("  state      %s\n", group_state(status).c_str());
  std::printf("  numbers    made %s  published %s  sent %s  journaled %s  applied %s\n",
              count(status.made).c_str(), count(status.published).c_str(),
              count(status.sent).c_str(), count(status.journaled).c_str(),
              count(status.applied).c_str());
  std::printf("  queue      %s, %s\n", updates(status.queue.updates).c_str(),
              human_bytes(status.queue.bytes).c_str());
  std::printf("  lag        %s\n", since(status.behind.oldest).c_str());
  if (status.applying != control::ApplyState::kRunning)
    std::printf("  applying   %s\n", applying_text(status).c_str());
  if (status.role == control::Role::kMaster)
    std::printf("  exposure   %s, %s; limit %s%s%s\n", updates(status.exposure.updates).c_str(),
                since(status.exposure.oldest).c_str(), control::describe(status.limit).c_str(),
                status.limit.kind == control::LimitKind::kOff ? "" : ", then ",
                status.limit.kind == control::LimitKind::kOff
                    ? ""
                    : std::string(control::at_limit_name(status.limit.at_limit)).c_str());
  for (const PeerStatus& peer : status.peers) {
    const std::string state = peer_state(status, peer);
    std::printf("  peer       %s  %s", peer.name.c_str(), state.c_str());
    if (peer.heard) std::printf(", heard %s ago", since(peer.heard).c_str());
    const std::string& text = peer.text;
    if (text.starts_with(state + ": "))
      std::printf("%s", text.substr(state.size()).c_str());
    else if (!text.empty())
      std::printf(", %s", text.c_str());
    if (peer.needs_seed && !peer.pins) std::printf("; it needs a seed");
    std::printf("\n");
  }
  print_journal(status.journal);
  std::printf("  server     %s %s\n", status.server.program.c_str(),
              server_text(status.server).c_str());
  print_environments(status);
  for (const Incident& incident : status.incidents)
    std::printf("  incident   %s  %s  %s\n",
                incident.time ? iso8601(*incident.time).c_str() : "now", incident.code.c_str(),
                incident.text.c_str());
}

Result<int> show_once(const Session& session, const config::Configuration& configuration,
                      const std::vector<const config::Group*>& groups) {
  bool good = true;
  ordered_json out{{"time", iso8601(wall_now())},
                   {"node", configuration.node.name},
                   {"groups", ordered_json::array()}};
  for (const config::Group* group : groups) {
    HOTBACKUP_ASSIGN(const GroupStatus status, read_status(configuration, *group));
    good = good && judge(status).good;
    if (session.json)
      out["groups"].push_back(to_json(status));
    else
      print(status);
  }
  if (session.json)
    std::printf("%s\n", out.dump(-1, ' ', false, ordered_json::error_handler_t::replace).c_str());
  std::fflush(stdout);
  return good ? kDone : kFound;
}

Result<int> status(const Session& session, const StatusOptions& options) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  std::vector<const config::Group*> groups;
  if (options.group.empty()) {
    for (const config::Group& group : configuration.groups) groups.push_back(&group);
  } else {
    HOTBACKUP_ASSIGN(const config::Group* group, config::find_group(configuration, options.group));
    groups.push_back(group);
  }
  const bool screen = options.watch && !session.json && ::isatty(STDOUT_FILENO) != 0;
  for (;;) {
    if (screen) std::printf("\033[H\033[J");
    HOTBACKUP_ASSIGN(const int found, show_once(session, configuration, groups));
    if (!options.watch) return options.check ? found : kDone;
    if (options.check && found != kDone) return found;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

}  // namespace

void add_status(CLI::App& app, Session& session) {
  auto* command =
      app.add_subcommand("status", "How the groups of this node are: a verdict, then the numbers");
  auto options = std::make_shared<StatusOptions>();
  command->add_option("GROUP", options->group, "all groups if left out");
  command->add_flag("--watch", options->watch, "again each second");
  command->add_flag(
      "--check", options->check,
      "exit 4 unless every group is PROTECTED or READY; with --watch, as soon as one is not");
  command->callback([&session, options] {
    session.action = [&session, options] { return status(session, *options); };
  });
}

}  // namespace hotbackup::cli
