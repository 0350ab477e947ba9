// SPDX-License-Identifier: Apache-2.0
// What the administrator's commands change in a group that exists: durable in group.toml first,
// then seen by every process that has the control file mapped.
#include <algorithm>

#include "common/control/group.h"

namespace hotbackup::control {

Result<> Group::add_configured(const GroupRecord& wanted) {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  stored.peers = wanted.peers;
  stored.permissions = wanted.permissions;
  stored.limit = wanted.limit;
  const bool rules_change =
      stored.keep_local != wanted.keep_local || layout_->keep_local_sequence.load() % 2 != 0;
  stored.keep_local = wanted.keep_local;
  std::vector<PatternRecord> added;
  for (const PatternRecord& pattern : wanted.patterns)
    if (std::none_of(stored.patterns.begin(), stored.patterns.end(),
                     [&](const PatternRecord& known) { return known.name == pattern.name; }))
      added.push_back(pattern);
  stored.patterns.insert(stored.patterns.end(), added.begin(), added.end());
  HOTBACKUP_TRY(write_group_file(directory_, stored));
  layout_->uid = stored.permissions.uid;
  layout_->gid = stored.permissions.gid;
  layout_->mode = stored.permissions.mode;
  for (const PatternRecord& pattern : added) add_pattern(pattern);
  if (rules_change) put_keep_local(stored.keep_local);
  for (const std::string& name : stored.peers)
    if (peer(name) == nullptr)
      return fail(ErrorCode::kConfig,
                  "a group has at most " + std::to_string(kPeersMax) + " peers");
  exposure().set_limit(stored.limit, stored.peers);
  return {};
}

Result<> Group::set_loss_limit(const LossLimit& limit, const std::vector<std::string>& peers) {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  if (stored.limit != limit || stored.peers != peers) {
    stored.limit = limit;
    stored.peers = peers;
    HOTBACKUP_TRY(write_group_file(directory_, stored));
  }
  for (const std::string& name : peers) (void)peer(name);
  exposure().set_limit(limit, peers);
  return {};
}

Result<> Group::set_unlogged(EnvironmentEntry& entry, std::string_view text) {
  incidents().raise("HB-unlogged", entry.name, text);
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  const UpdateNumber at = made().next();  // a seed journals baselines for what is unlogged
  entry.unlogged_at.store(at.value);
  entry.state.store(static_cast<std::uint32_t>(EnvironmentState::kUnlogged));
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  for (EnvironmentRecord& record : stored.environments)
    if (record.number.value == entry.number) record.unlogged_at = at;
  return write_group_file(directory_, stored);
}

Result<> Group::mend_unlogged(UpdateNumber seeded) {
  if (!is_unlogged()) return {};
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  for (EnvironmentRecord& record : stored.environments) {
    EnvironmentEntry* entry = environment(record.number);
    if (entry == nullptr || record.unlogged_at > seeded) continue;
    record.unlogged_at = {};
    record.came_with_data = false;
    entry->state.store(static_cast<std::uint32_t>(EnvironmentState::kNormal));
    for (const char* code : {"HB-unlogged", "HB-nolock-writer", "HB-replaced"})
      incidents().clear(code, entry->name);
  }
  return write_group_file(directory_, stored);
}

bool Group::is_unlogged() const {
  const auto count = layout_->environment_count.load();
  return std::any_of(layout_->environments, layout_->environments + count,
                     [](const EnvironmentEntry& entry) { return entry.state.load() != 0; });
}

Result<> Group::limit_journal(std::uint64_t bytes_max) {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  if (stored.journal_bytes_max != bytes_max) {
    stored.journal_bytes_max = bytes_max;
    HOTBACKUP_TRY(write_group_file(directory_, stored));
  }
  layout_->tail.bytes_max.store(bytes_max);
  return {};
}

Result<> Group::turn_off() {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  stored.role = Role::kNone;
  HOTBACKUP_TRY(write_group_file(directory_, stored));
  layout_->role.store(static_cast<std::uint32_t>(Role::kNone));
  notify_published();
  return {};
}

}  // namespace hotbackup::control
