// SPDX-License-Identifier: Apache-2.0
#include "master/joined.h"

#include <algorithm>

#include "common/control/group_file.h"
#include "common/retention/claims.h"
#include "master/capture_watch.h"

namespace hotbackup::master {

Result<std::vector<std::string>> take_in_what_appeared(control::Group& group,
                                                       const config::Group& configuration) {
  std::vector<std::string> released;
  HOTBACKUP_TRY(join_existing(group));
  if (!group.is_unlogged()) return released;
  HOTBACKUP_ASSIGN(const auto stored, control::read_group_file(group.directory()));
  UpdateNumber due;
  for (const control::EnvironmentRecord& record : stored.environments)
    if (record.came_with_data) due = std::max(due, record.unlogged_at);
  if (due.value == 0) return released;
  for (const std::string& name : configuration.peers) {
    const control::PeerEntry* peer = group.peer(name);
    const auto claim = retention::claim_of(group, name);
    if (peer == nullptr || !claim || claim->needs_seed || !claim->holds() ||
        peer->seeded_at.load() >= due.value)
      continue;
    HOTBACKUP_TRY(retention::forget(group, name));
    released.push_back(name);
  }
  return released;
}

}  // namespace hotbackup::master
