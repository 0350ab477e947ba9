// SPDX-License-Identifier: Apache-2.0
#include "common/status/verdict.h"

#include <algorithm>

namespace hotbackup::status {
namespace {

constexpr char kAtOnce[] = "at once";

using control::LinkState;
using control::Role;

/// What a link that works may be behind before it counts as exposed.
std::chrono::nanoseconds exposure_max(const GroupStatus& status) {
  if (status.limit.kind == control::LimitKind::kTime)
    return std::chrono::nanoseconds(status.limit.amount);
  return std::chrono::seconds(10);
}

std::string age(WallTime now, WallTime then) {
  return human_duration(std::max(now - then, std::chrono::nanoseconds(0)));
}

std::string updates(std::uint64_t count) {
  return human_count(count) + (count == 1 ? " update" : " updates");
}

bool silent(const GroupStatus& status, const PeerStatus& peer) {
  return !peer.heard || status.now - *peer.heard > 3 * status.check_period;
}

/// How active a link is; the best one speaks for the group.
int activity(LinkState link) {
  switch (link) {
    case LinkState::kStreaming:
      return 7;
    case LinkState::kSeeding:
      return 6;
    case LinkState::kConnected:
      return 5;
    case LinkState::kWaitingForCapture:
      return 4;
    case LinkState::kRefused:
      return 3;
    case LinkState::kCalling:
    case LinkState::kWaitingForCall:
      return 2;
    case LinkState::kStopped:
      break;
  }
  return 1;
}

/// Of a master: the peer that would be promoted. Of a slave: its master.
const PeerStatus* best_peer(const GroupStatus& status) {
  const PeerStatus* best = nullptr;
  for (const PeerStatus& peer : status.peers) {
    if (status.role == Role::kSlave && peer.name == status.master_name) return &peer;
    if (best == nullptr || std::make_pair(peer.journaled, activity(peer.link)) >
                               std::make_pair(best->journaled, activity(best->link)))
      best = &peer;
  }
  return best;
}

std::string restart_hint(const ServerStatus& server) {
  return "Next: start " + server.program;
}

/// Why a link does not stream, and what to do.
std::pair<std::string, std::string> trouble(const GroupStatus& status, const PeerStatus& peer) {
  const bool master = status.role == Role::kMaster;
  const std::string other = master ? "hotbackup-slave" : "hotbackup-master";
  const std::string start =
      "Next: see that " + other + " runs on " + peer.name + ", and hotbackup status there";
  if (peer.link == LinkState::kRefused || peer.text.starts_with(peer.name + " refuses"))
    return {peer.text, "Next: hotbackup status on " + peer.name};
  switch (peer.link) {
    case LinkState::kWaitingForCapture:
      return {peer.text.empty() ? "waiting for capture" : peer.text,
              "Next: restart these programs under capture"};
    case LinkState::kSeeding:
      return {"seeding " + (master ? peer.name : "from " + peer.name), ""};
    case LinkState::kConnected:
    case LinkState::kStreaming:
      if (silent(status, peer))
        return {peer.name + " silent" + (peer.heard ? " " + age(status.now, *peer.heard) : ""),
                start};
      return master
                 ? std::make_pair("connected with " + peer.name, std::string())
                 : std::make_pair("connected with " + peer.name + ", which has not begun to send",
                                  "Next: hotbackup status on " + peer.name);
    default:
      break;
  }
  std::string text = peer.name + (peer.heard ? " silent " + age(status.now, *peer.heard)
                                             : std::string(" has not been heard"));
  if (!peer.text.empty()) text += ": " + peer.text;
  if (!master && peer.heard && status.journaled != 0)
    return {text, "Next: hotbackup promote " + status.name + " --dry-run"};
  return {text, start};
}

std::string with_next(std::string text, const std::string& next) {
  return next.empty() ? text : text + ". " + next;
}

std::string way_home(const GroupStatus& status, const PeerStatus& peer) {
  switch (peer.way_home) {
    case control::WayHome::kReaches:
      return "; way home: " + peer.name + " reaches " + status.node;
    case control::WayHome::kDoesNot:
      return "; no way home: " + peer.name + " does not reach hotbackup-slave on " + status.node;
    case control::WayHome::kUnknown:
      break;
  }
  return {};
}

/// The old master, or one of two: it waits for somebody, or is on its way.
Verdict judge_fenced(const GroupStatus& status) {
  const std::string who = status.master_name.empty() ? "another node" : status.master_name;
  std::string text = "FENCED: " + who + " is master in epoch " +
                     std::to_string(status.known_epoch) + ", writes here are refused";
  for (const PeerStatus& peer : status.peers)
    if (peer.name == status.master_name && !peer.text.empty()) text += " (" + peer.text + ")";
  if (!status.server.alive) text += ". Next: start hotbackup-slave";
  return {false, text};
}

Verdict judge_master(const GroupStatus& status) {
  const PeerStatus* peer = best_peer(status);
  if (peer == nullptr)
    return {false,
            "EXPOSED: losing this machine now loses everything (no peer is configured). "
            "Next: add a [[peer]] and run hotbackup init again"};
  const bool no_copy = !peer->seeded && peer->journaled == 0;
  const auto exposed = [&](const std::string& why, const std::string& next) {
    const std::string because = no_copy ? peer->name + " has no copy yet; " + why : why;
    const std::uint64_t count = status.exposure.updates;
    const std::string lost = no_copy      ? "everything"
                             : count == 0 ? "0 updates, and every one from now on"
                                          : updates(count);
    return Verdict{
        false,
        with_next("EXPOSED: losing this machine now loses " + lost + " (" + because + ")", next)};
  };
  if (!status.server.alive)
    return exposed(status.server.program + " " + server_text(status.server),
                   restart_hint(status.server));
  if (peer->link != LinkState::kStreaming || silent(status, *peer)) {
    const auto [why, next] = trouble(status, *peer);
    return exposed(why, next);
  }
  if (status.exposure.oldest && status.now - *status.exposure.oldest > exposure_max(status))
    return exposed(
        peer->name + " is " + age(status.now, *status.exposure.oldest) + " behind, and catching up",
        "");
  std::string equal = status.exposure.updates == 0 ? "equal" : peer->name + " has it";
  equal += " at " + human_count(peer->journaled) + " " + iso8601(*peer->heard).substr(11, 8) + "Z";
  return {true, "PROTECTED by " + peer->name + ": losing this machine now loses " +
                    updates(status.exposure.updates) + " (" + equal + ")" +
                    way_home(status, *peer)};
}

bool has_incident(const GroupStatus& status, std::string_view code) {
  return std::ranges::any_of(status.incidents,
                             [&](const Incident& incident) { return incident.code == code; });
}

/// What says that the slave's copy is not what the master has, though all was sent; nothing when
/// nothing does. Another slave's copy is not meant.
const Incident* copy_differs(const GroupStatus& status) {
  const PeerStatus* peer = best_peer(status);
  for (const char* code : {"HB-copy-differs", "HB-copy-written", "HB-copy-replaced", "HB-unlogged",
                           "HB-nolock-writer", "HB-replaced", "HB-test-wrong"})
    for (const Incident& incident : status.incidents) {
      if (incident.code != code) continue;
      const bool of_a_peer = std::ranges::find(status.peers, incident.subject, &PeerStatus::name) !=
                             status.peers.end();
      if (!of_a_peer || (peer != nullptr && incident.subject == peer->name)) return &incident;
    }
  return nullptr;
}

/// What the loss limit does to writers now; the incident says the rest.
std::string limit_text(const GroupStatus& status) {
  if (status.role != Role::kMaster || status.limit.kind == control::LimitKind::kOff) return {};
  const std::string limit = " (loss limit " + control::describe(status.limit) + ")";
  if (status.limit_refuses) return "; commits are refused" + limit;
  if (status.writers_wait) return "; writers wait for an acknowledgement" + limit;
  if (status.limit_passed)
    return "; the loss limit of " + control::describe(status.limit) + " is passed";
  return {};
}

Verdict judge_slave(const GroupStatus& status) {
  if (status.promotion_cut_short)
    return {false,
            "NOT PROMOTED: a promotion was cut short, and no master is followed. Next: hotbackup "
            "promote " +
                status.name};
  const PeerStatus* peer = best_peer(status);
  if (peer == nullptr)
    return {
        false,
        "NO COPY YET: no peer is configured. Next: add a [[peer]] and run hotbackup init again"};
  const std::uint64_t missing = status.published - status.journaled;
  const bool empty = status.journaled == 0;
  const std::string loses = empty ? "NO COPY YET" : "MAY LOSE " + human_count(missing) + " or more";
  if (!status.server.alive)
    return {false,
            with_next(loses + ": " + status.server.program + " " + server_text(status.server),
                      restart_hint(status.server))};
  if (status.rejoining)
    return {false,
            "REJOINING: the copy still shows what only this node had; nothing to do but wait"};
  if (empty || peer->link != LinkState::kStreaming || silent(status, *peer)) {
    const auto [why, next] = trouble(status, *peer);
    return {false, with_next(loses + ": " + why, next)};
  }
  const std::string applying = applying_text(status);
  const std::string behind = applying == kAtOnce ? "" : ", applying " + applying;
  // Nothing is missing in the journal, but whoever reads the copy does not see what the master has.
  const std::string copy =
      " (" + peer->name + " heard " + age(status.now, *peer->heard) + " ago" + behind + ")";
  if (copy_differs(status) != nullptr)
    return {false, "DIFFERS: promoting now serves a copy that is not the master's, and loses " +
                       human_count(missing) + copy};
  if (has_incident(status, "HB-post-restore"))
    return {false,
            "NOT PREPARED: promote refuses until post_restore has succeeded on what was "
            "restored here" +
                copy};
  if (status.applying == control::ApplyState::kStopped)
    return {false, "STOPPED: promoting now serves the copy as of update " +
                       human_count(status.applied) + copy};
  return {true, "READY: promoting now loses " + human_count(missing) + copy};
}

}  // namespace

Verdict judge(const GroupStatus& status) {
  if (!status.initialised)
    return {false,
            "NOT INITIALISED. Next: hotbackup init " + status.name + " --role master (or slave)"};
  Verdict verdict;
  const Incident* told = nullptr;  // by the line itself
  switch (status.role) {
    case Role::kMaster:
      verdict = judge_master(status);
      // Everything is there, but the copy that would be promoted is not the same.
      if (verdict.good) told = copy_differs(status);
      if (told != nullptr)
        verdict = {false, "NOT PROTECTED: " + best_peer(status)->name +
                              "'s copy is known to differ (" + told->code + ": " + told->text +
                              ")"};
      break;
    case Role::kSlave:
      verdict = judge_slave(status);
      break;
    case Role::kFenced:
      verdict = judge_fenced(status);
      break;
    case Role::kNone:
      return {false, "OFF: unlinked. Next: hotbackup init " + status.name +
                         " --role master (or slave) begins anew"};
  }
  if (const std::string limit = limit_text(status); !limit.empty()) {
    verdict.good = false;
    verdict.text += limit;
  }
  // What the line itself says already is not said twice.
  constexpr std::string_view kSaid[] = {"HB-link-down", "HB-server-down", "HB-notify-failed"};
  if (told != nullptr) {
    if (!told->action.empty()) verdict.text += ". Next: " + told->action;
    return verdict;
  }
  const auto incident_at = std::ranges::find_if(status.incidents, [&](const Incident& incident) {
    return std::ranges::find(kSaid, incident.code) == std::end(kSaid);
  });
  if (incident_at != status.incidents.end()) {
    const Incident& incident = *incident_at;
    verdict.good = false;
    verdict.text += "; " + incident.code + ": " + incident.text;
    if (!incident.action.empty()) verdict.text += ". Next: " + incident.action;
  }
  return verdict;
}

std::string verdict_line(const GroupStatus& status, const Verdict& verdict) {
  if (!status.initialised || status.role == Role::kNone)
    return status.name + "  " + status.node + "  " + verdict.text;
  std::string role(role_name(status.role));
  std::transform(role.begin(), role.end(), role.begin(), ::toupper);
  return status.name + "  " + role + " " + status.node + "  epoch " + std::to_string(status.epoch) +
         "  " + verdict.text;
}

std::string peer_state(const GroupStatus& status, const PeerStatus& peer) {
  if (!status.server.alive) return "stopped";
  switch (peer.link) {
    case LinkState::kStopped:
      return "stopped";
    case LinkState::kCalling:
      return "calling";
    case LinkState::kWaitingForCall:
      return "waiting for call";
    case LinkState::kConnected:
      return "connected";
    case LinkState::kSeeding:
      return "seeding";
    case LinkState::kWaitingForCapture:
      return "waiting for capture";
    case LinkState::kRefused:
      return "refused";
    case LinkState::kStreaming:
      break;
  }
  if (status.role == Role::kSlave)
    return status.journaled < status.published ? "receiving" : "idle";
  if (peer.sent < status.published) return "writing";
  return peer.journaled < status.published ? "waiting for ack" : "idle";
}

std::string group_state(const GroupStatus& status) {
  if (!status.initialised) return "not initialised";
  if (status.role == Role::kNone || status.os_error != 0 || !status.server.alive) return "stopped";
  if (status.rejoining) return "rejoining";
  if (std::any_of(status.environments.begin(), status.environments.end(),
                  [](const EnvironmentStatus& environment) { return environment.unlogged; }))
    return "unlogged";
  const PeerStatus* most = nullptr;
  for (const PeerStatus& peer : status.peers)
    if (most == nullptr || activity(peer.link) > activity(most->link)) most = &peer;
  if (most != nullptr) return peer_state(status, *most);
  return status.role == Role::kSlave ? "waiting for call" : "idle";
}

std::string applying_text(const GroupStatus& status) {
  switch (status.applying) {
    case control::ApplyState::kPaused:
      return "paused";
    case control::ApplyState::kStopped:
      return "stopped at update " + human_count(status.stopped_at);
    case control::ApplyState::kRunning:
      break;
  }
  if (status.apply_delay.count() != 0) return human_duration(status.apply_delay) + " late";
  return kAtOnce;
}

std::string server_text(const ServerStatus& server) {
  if (server.alive)
    return "runs since " + iso8601(server.started.value_or(WallTime())) + ", pid " +
           std::to_string(server.pid);
  if (!server.started) return "has not run since boot";
  if (server.stopped) return "stopped cleanly at " + iso8601(*server.stopped);
  return "was killed; last alive at " + iso8601(server.last_alive.value_or(*server.started));
}

}  // namespace hotbackup::status
