// SPDX-License-Identifier: Apache-2.0
#include "common/status/status_json.h"

#include <nlohmann/json.hpp>

#include "common/status/verdict.h"

namespace hotbackup::status {
namespace {

using nlohmann::ordered_json;

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
         {"clock_offset_seconds",
          peer.clock ? ordered_json(std::chrono::duration<double>(*peer.clock).count())
                     : ordered_json(nullptr)},
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

}  // namespace

double seconds_since(WallTime now, const std::optional<WallTime>& then) {
  if (!then || now < *then) return 0;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now - *then).count();
  return static_cast<double>(ms) / 1000;
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

}  // namespace hotbackup::status
