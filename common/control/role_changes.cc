// SPDX-License-Identifier: Apache-2.0
// Who is master, as one node knows it: epochs, fencing, the gate. DESIGN section 9, rule R7. What
// is changed is durable in group.toml, except that a gate closes first.
#include <algorithm>
#include <limits>

#include "common/control/group.h"
#include "common/os/process.h"

namespace hotbackup::control {
namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr char kFenced[] = "HB-fenced";
constexpr char kTwoMasters[] = "HB-two-masters";

std::string name_or_node(const std::string& name, const Epoch& epoch) {
  char hex[20];
  std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(epoch.node.value));
  return name.empty() ? "node " + std::string(hex) : name;
}

}  // namespace

void Group::put_known(const Epoch& epoch, const std::string& master) {
  layout_->roles.known_node.store(epoch.node.value);
  layout_->roles.known_counter.store(epoch.counter);
  if (!master.empty()) copy_text(layout_->master_name, sizeof layout_->master_name, master);
}

// The word that capture asks comes first; then what has to outlive this boot.
Result<> Group::fence(const Epoch& known, const std::string& master, const std::string& text) {
  const bool was_master = role() == Role::kMaster;
  if (was_master) {
    layout_->role.store(static_cast<std::uint32_t>(Role::kFenced));
    open_gate();  // who waits is refused
    notify_published();
    incidents().raise(kFenced, "", text);
  }
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  if (was_master) stored.role = Role::kFenced;
  stored.wrote = stored.wrote || was_master;
  stored.known_epoch = known;
  if (!master.empty()) stored.master_name = master;
  HOTBACKUP_TRY(write_group_file(directory_, stored));
  put_known(known, master);
  return {};
}

Result<Group::Heard> Group::hear_epoch(const Epoch& epoch, const std::string& master) {
  if (epoch == known_epoch()) return Heard::kSame;
  if (epoch.counter < known_epoch().counter) return Heard::kOlder;
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  const Epoch known = known_epoch();
  if (epoch == known) return Heard::kSame;
  if (epoch.counter < known.counter) return Heard::kOlder;
  const std::string who = name_or_node(master, epoch);
  if (epoch.counter == known.counter) {
    const std::string text = who + " and " + std::string(layout_->master_name) +
                             " were both promoted to epoch " + std::to_string(epoch.counter);
    incidents().raise(kTwoMasters, "", text);
    HOTBACKUP_TRY(fence(known, "", text));
    return Heard::kConflict;
  }
  const std::string text = who + " is master in epoch " + std::to_string(epoch.counter) +
                           ", this node was in epoch " + std::to_string(this->epoch().counter);
  HOTBACKUP_TRY(fence(epoch, master, text));
  return Heard::kNewer;
}

Result<Epoch> Group::begin_epoch() {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  const Epoch next{std::max(known_epoch().counter, epoch().counter) + 1, NodeId(layout_->node)};
  stored.known_epoch = next;
  stored.master_name = layout_->node_name;
  HOTBACKUP_TRY(write_group_file(directory_, stored));
  put_known(next, layout_->node_name);
  return next;
}

Result<> Group::forget_epoch(const Epoch& back, const std::string& master) {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  stored.known_epoch = back;
  stored.master_name = master;
  HOTBACKUP_TRY(write_group_file(directory_, stored));
  put_known(back, master);
  return {};
}

Result<> Group::become_master(const Epoch& epoch) {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  if (known_epoch() != epoch)
    return fail(ErrorCode::kFenced, "a newer epoch than " + std::to_string(epoch.counter) +
                                        " has been heard of: see hotbackup status");
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  stored.role = Role::kMaster;
  stored.wrote = true;
  stored.master_name = layout_->node_name;
  HOTBACKUP_TRY(write_group_file(directory_, stored));
  exposure().set_limit(stored.limit, stored.peers);
  for (std::uint32_t i = 0; i < layout_->peer_count.load(); ++i)
    layout_->peers[i].confirmed_ns.store(0);
  layout_->roles.lease_until_ns.store(std::numeric_limits<std::int64_t>::max());
  layout_->roles.wrote.store(1);
  layout_->roles.unconfirmed.store(0);
  open_gate();
  layout_->role.store(static_cast<std::uint32_t>(Role::kMaster));
  for (const char* code : {kFenced, kTwoMasters}) incidents().clear_all(code);
  notify_published();
  return {};
}

Result<> Group::resign(const Epoch& next, const std::string& master, UpdateNumber made) {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  if (role() != Role::kMaster || this->made() != made)
    return fail(ErrorCode::kFenced, "the group was written to meanwhile");
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  stored.role = Role::kSlave;
  stored.wrote = true;
  stored.known_epoch = next;
  stored.master_name = master;
  HOTBACKUP_TRY(write_group_file(directory_, stored));
  put_known(next, master);
  layout_->role.store(static_cast<std::uint32_t>(Role::kSlave));
  notify_published();
  return {};
}

Result<> Group::take_back(const Epoch& back) {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  stored.role = Role::kMaster;
  stored.known_epoch = back;
  stored.master_name = layout_->node_name;
  HOTBACKUP_TRY(write_group_file(directory_, stored));
  put_known(back, layout_->node_name);
  layout_->role.store(static_cast<std::uint32_t>(Role::kMaster));
  notify_published();
  return {};
}

Result<> Group::become_slave() {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  if (role() != Role::kFenced) return {};
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  stored.role = Role::kSlave;
  HOTBACKUP_TRY(write_group_file(directory_, stored));
  layout_->role.store(static_cast<std::uint32_t>(Role::kSlave));
  for (const char* code : {kFenced, kTwoMasters}) incidents().clear_all(code);
  return {};
}

Result<> Group::settled() {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  stored.wrote = false;
  HOTBACKUP_TRY(write_group_file(directory_, stored));
  layout_->roles.wrote.store(0);
  return {};
}

Result<> Group::pause_gate(std::chrono::milliseconds length, bool first) {
  RoleState& roles = layout_->roles;
  const std::int64_t now = os::boottime_ns();
  std::int64_t until = roles.gate_until_ns.load();
  if (!first && until <= now)
    return fail(ErrorCode::kTimeout, "writers were let go on before this was done");
  if (!roles.gate_until_ns.compare_exchange_strong(until, now + length.count() * kNsPerMs))
    return fail(ErrorCode::kTimeout, "the gate was opened meanwhile");
  return {};
}

void Group::open_gate() {
  layout_->roles.gate_until_ns.store(0);
  os::futex_notify(layout_->roles.gate_wake);
}

void Group::confirm_epoch() {
  if (layout_->roles.unconfirmed.load() == 0 || layout_->roles.unconfirmed.exchange(0) == 0) return;
  open_gate();
  incidents().clear("HB-boot-unconfirmed");
}

// Counted from the peer that was heard least recently: whichever of them is promoted, it has waited
// from a later time than this.
void Group::renew_lease(PeerEntry& peer, std::int64_t sent_ns) {
  if (sent_ns > peer.confirmed_ns.load()) peer.confirmed_ns.store(sent_ns);
  std::int64_t least = peer.confirmed_ns.load();
  // 0 since a boot: any of them may have been promoted meanwhile. Else those that have followed
  // this master in its epoch.
  const bool all = layout_->roles.lease_until_ns.load() == 0;
  for (std::uint32_t i = 0; i < layout_->peer_count.load(); ++i) {
    const std::int64_t confirmed = layout_->peers[i].confirmed_ns.load();
    if (layout_->peers[i].counts.load() != 0 && (all || confirmed != 0))
      least = std::min(least, confirmed);
  }
  if (least == 0) return;
  layout_->roles.lease_until_ns.store(least + layout_->roles.lease_ns.load());
  notify_acknowledged();
}

Result<> Group::set_waits(std::chrono::milliseconds boot_wait, std::chrono::milliseconds lease) {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  const auto boot_ms = static_cast<std::uint64_t>(boot_wait.count());
  const auto lease_ms = static_cast<std::uint64_t>(lease.count());
  if (stored.boot_wait_ms != boot_ms || stored.lease_ms != lease_ms) {
    stored.boot_wait_ms = boot_ms;
    stored.lease_ms = lease_ms;
    HOTBACKUP_TRY(write_group_file(directory_, stored));
  }
  layout_->roles.lease_ns.store(lease.count() * kNsPerMs);
  return {};
}

}  // namespace hotbackup::control
