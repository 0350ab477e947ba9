// SPDX-License-Identifier: Apache-2.0
// One orphan made a new update of the present master, through the capture path.
// docs/operating/rejoin.md.
#pragma once

#include <string>
#include <vector>

#include "common/roles/peers.h"

namespace hotbackup::roles {

/// What lies in the file that the writing process gets: these lines, then the orphan's frames.
struct OrphanRequest {
  UpdateNumber after;               // the last update that both histories have
  std::vector<std::uint64_t> ours;  // updates that orphans of the same set became already
  bool overwrite = false;           // also where the master has changed the same item since
  std::string frames;
};
/// A larger update does not go this way.
inline constexpr std::size_t kOrphanBytesMax = 256 << 20;

std::string write_request(const OrphanRequest& request);
Result<OrphanRequest> read_request(const std::string& bytes);

/// Hands a request to a process under capture on this node, which is the group's master. What it
/// printed: a JSON object with `number`, the new update, or `conflicts`. Blocks until it has ended.
Result<std::string> perform_orphan(control::Group& group, const std::string& request);
/// The same on the master, over its slave server.
Result<std::string> send_orphan(const Here& here, const std::string& master,
                                const std::string& request);

/// The master's side of send_orphan. Nothing until the last part is here, then what was printed.
Result<std::string> take_orphan(control::Group& group, const wire::Ask& ask);

}  // namespace hotbackup::roles
