// SPDX-License-Identifier: Apache-2.0
// From what is known about a group to one line that a person can act on at night. Pure: a status
// in, words out.
#pragma once

#include <string>

#include "common/status/group_status.h"

namespace hotbackup::status {

struct Verdict {
  /// Nothing to do: a master is protected, a slave ready.
  bool good = false;
  /// "PROTECTED by lyon: losing this machine now loses 0 updates (…)"
  std::string text;
};

Verdict judge(const GroupStatus& status);

/// "dns  MASTER paris  epoch 3  PROTECTED by …": verdict() with who it is about.
std::string verdict_line(const GroupStatus& status, const Verdict& verdict);

/// One word for one peer, and for the group: its most active peer's, "stopped" without a server.
/// "calling", "waiting for call", "connected", "seeding", "writing", "waiting for ack",
/// "receiving", "idle", "waiting for capture", "unlogged", "refused", "stopped", "not initialised".
std::string peer_state(const GroupStatus& status, const PeerStatus& peer);
std::string group_state(const GroupStatus& status);

/// "at once", "paused", "stopped at update 42": of a slave's applier.
std::string applying_text(const GroupStatus& status);

/// "runs since …, pid 812", "stopped cleanly at …", "was killed; last alive at …".
std::string server_text(const ServerStatus& server);

}  // namespace hotbackup::status
