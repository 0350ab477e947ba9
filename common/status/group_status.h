// SPDX-License-Identifier: Apache-2.0
// What is known about a group on this node, from its control file and journal alone, so that it can
// be told when no server runs. Reading takes no lock that a program or server could hold.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/config/configuration.h"
#include "common/control/group.h"

namespace hotbackup::status {

struct PeerStatus {
  std::string name;
  control::LinkState link = control::LinkState::kStopped;
  std::string text;                                        // why it is so, if it failed
  control::WayHome way_home = control::WayHome::kUnknown;  // of a slave, to its master
  bool seeded = false;
  bool needs_seed = false;            // released from the journal, or being seeded
  std::optional<std::uint64_t> pins;  // the journal is kept for it from the update after this
  std::uint64_t sent = 0;
  std::uint64_t journaled = 0;
  std::uint64_t applied = 0;
  std::uint64_t published = 0;    // on a slave: what this master is known to have
  std::optional<WallTime> heard;  // its last message
  std::optional<std::chrono::nanoseconds>
      clock;  // its clock minus this node's, at the last connect
};

struct ServerStatus {
  std::string program;
  bool alive = false;
  std::uint32_t pid = 0;
  std::optional<WallTime> started;  // since this boot
  std::optional<WallTime> last_alive;
  std::optional<WallTime> stopped;  // cleanly
};

struct EnvironmentStatus {
  std::uint32_t number = 0;
  std::string name;
  std::string path;
  bool unlogged = false;  // somebody wrote without capture
};

struct Incident {
  std::string code;
  std::string subject;  // environment, peer, … it is about, or empty
  std::string severity;
  std::string text;
  std::string action;
  std::optional<WallTime> time;
};

/// A stretch of the journal that is still due somewhere.
struct Stretch {
  std::uint64_t updates = 0;
  std::uint64_t bytes = 0;         // exact in the first segment; later ones with their unused end
  std::optional<WallTime> oldest;  // commit time of its first update
};

/// What is on the disk of the journal, and why.
struct JournalStatus {
  std::uint64_t first = 0;  // oldest update that is kept
  std::uint64_t bytes = 0;
  std::uint64_t segments = 0;
  std::uint64_t disk_bytes = 0;  // of its file system; 0: not known
  std::uint64_t free_bytes = 0;
  std::optional<std::uint64_t> limit_bytes;
  std::string at_limit;
  std::string kept_for;  // what holds the oldest closed segment, in words; "" when nothing does
  std::optional<std::uint64_t> archived;  // nothing without an archive command
};

struct GroupStatus {
  std::string name;
  std::string node;
  bool initialised = false;
  control::Role role = control::Role::kNone;
  std::uint64_t epoch = 0;
  std::uint64_t known_epoch = 0;  // the highest heard of
  bool promotion_cut_short = false;
  std::string master_name;
  std::string master_address;
  WallTime now;
  std::chrono::milliseconds check_period{2000};
  /// On a slave, made and published are what its master is known to have.
  std::uint64_t made = 0;
  std::uint64_t published = 0;
  std::uint64_t sent = 0;
  std::uint64_t journaled = 0;
  std::uint64_t applied = 0;
  Stretch queue;  // master: not acknowledged; slave: received and not applied
  std::chrono::milliseconds apply_delay{0};  // slave: by its configuration
  std::optional<double> test_round_trip_ms;  // master: of the last test update, if it came back
  Stretch exposure;                          // master: returned to callers and not acknowledged
  Stretch behind;                            // not visible in the copy
  control::LossLimit limit;                  // master: in force
  bool limit_passed = false;
  bool limit_refuses = false;  // commits are refused now
  bool writers_wait = false;   // commits wait for an acknowledgement
  std::vector<PeerStatus> peers;
  std::vector<EnvironmentStatus> environments;
  std::vector<Incident> incidents;
  JournalStatus journal;
  bool rejoining = false;  // on the way back onto another master's history
  control::ApplyState applying = control::ApplyState::kRunning;  // of a slave
  std::uint64_t stopped_at = 0;  // the update that cannot be applied
  ServerStatus server;           // the one that serves the group in its role
  int os_error = 0;              // not 0: the journal cannot be written any more
};

/// A group that is not initialised is a status too.
Result<GroupStatus> read_status(const config::Configuration& configuration,
                                const config::Group& settings);

/// <state>/groups/<group>
std::string group_directory(const config::Configuration& configuration, std::string_view group);

/// "master", "slave", "fenced", "none": stable names.
std::string_view role_name(control::Role role);

/// How far the peers that count by `acknowledge` have come.
struct Reached {
  std::uint64_t sent = 0;
  std::uint64_t journaled = 0;
  std::uint64_t applied = 0;
};
Reached reached_by_peers(control::Group& group, const config::Group& settings);

}  // namespace hotbackup::status
