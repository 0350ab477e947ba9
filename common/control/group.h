// SPDX-License-Identifier: Apache-2.0
// Access to a group's control file: mapping, rebuilding, the commit slots, what is published.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/control/exposure.h"
#include "common/control/group_file.h"
#include "common/control/incident_table.h"
#include "common/control/layout.h"
#include "common/control/shared_text.h"
#include "common/journal/journal.h"
#include "common/journal/reader.h"
#include "common/os/unique_fd.h"

namespace hotbackup::control {

/// Whose directory a process may share memory with and take orders from. CAPTURE section 1.
struct TrustedOwners {
  uid_t process = 0;
  uid_t data = 0;  // the data file's
  bool include(uid_t owner) const { return owner == 0 || owner == process || owner == data; }
};

/// A group on this node: its directory, mapped control file and journal. One per process and
/// group directory; threads may share it. Owns the mapping, directory handles and Journal.
class Group {
 public:
  /// Opens the group's directory (<state>/groups/<group>). Rebuilds the control file when it is
  /// missing, of another boot or damaged (under a file lock, so only one process does). kNotFound
  /// when the directory or group.toml is missing; kVersion for another layout; kCorrupt for a
  /// damaged journal; kRefused, before anything in it is looked at, when it belongs to nobody that
  /// is trusted (nullptr: whoever calls knows the directory).
  static Result<std::unique_ptr<Group>> open(const std::string& directory,
                                             const TrustedOwners* trusted = nullptr);
  ~Group();

  const std::string& directory() const { return directory_; }
  Layout& layout() { return *layout_; }
  const Layout& layout() const { return *layout_; }
  journal::Journal& journal() { return *journal_; }
  os::Directory& journal_directory() { return *journal_directory_; }
  GroupId id() const { return layout_->group; }
  Role role() const { return static_cast<Role>(layout_->role.load()); }
  Epoch epoch() const {
    return {layout_->epoch_counter.load(), NodeId(layout_->epoch_node.load())};
  }
  os::Permissions permissions() const;
  /// False in a container with process ids of its own: the locks in the control file and LMDB's own
  /// do not work from there. Raises the incident that says so.
  bool shares_pid_namespace();

  UpdateNumber made() const { return UpdateNumber(layout_->tail.made.load()); }
  UpdateNumber synced() const { return UpdateNumber(layout_->tail.synced.load()); }
  /// Highest number below every open commit slot: the fate of all updates through it is known.
  UpdateNumber decided() const;
  /// min(decided, synced): what may leave the machine (rule R2).
  UpdateNumber published() const;

  /// Opens the environment's slot, from Journal::append's announce; the caller holds LMDB's writer
  /// lock of the environment and the journal lock.
  static void open_slot(EnvironmentEntry& entry, const journal::Appended& appended, TxnId txnid);
  static journal::FrameLocation slot_location(const EnvironmentEntry& entry);
  /// After a commit whose fate is known; wakes the master server when it sleeps. Does nothing when
  /// the slot no longer holds `number`: the next writer may have resolved it and opened its own.
  void clear_slot(EnvironmentEntry& entry, UpdateNumber number);

  /// nullptr for a number that has not joined; a slave's table may have holes.
  EnvironmentEntry* environment(EnvironmentNumber number);
  /// By canonical path of the directory or file; nullptr when it has not joined.
  EnvironmentEntry* environment_at(std::string_view path);
  std::size_t environment_count() const { return layout_->environment_count.load(); }

  /// Makes the file at this canonical path an environment of the group if a pattern covers it:
  /// durable in group.toml before it is in the table. nullptr when no pattern does.
  /// "-lock" and ".replaced-" files never join. Takes and releases the journal lock.
  Result<EnvironmentEntry*> join(std::string_view path, bool subdirectory);
  /// A slave's way: the environment as its master describes it, at this local path.
  Result<EnvironmentEntry*> add_environment(const EnvironmentRecord& record);

  /// `hotbackup init` run again: peers, permissions, keep-local rules, and patterns that are new.
  /// Nothing else of `wanted` counts; what is there stays.
  Result<> add_configured(const GroupRecord& wanted);
  /// The configuration's loss limit, from init and from the master server at start and reload:
  /// durable where it changes, then in force.
  Result<> set_loss_limit(const LossLimit& limit, const std::vector<std::string>& peers);
  /// Notes in a file what peers have acknowledged, so that after a reboot a master knows it before
  /// it hears them: an older file says less, and that is safe.
  Result<> keep_peer_numbers();
  /// Something was written in the environment that the journal does not have: durable, with an
  /// incident. A later call moves the number on. Takes the journal lock.
  Result<> set_unlogged(EnvironmentEntry& entry, std::string_view text);
  /// Every copy was seeded at `seeded` or later: what was unlogged through it is mended.
  Result<> mend_unlogged(UpdateNumber seeded);
  bool is_unlogged() const;

  /// No captured update makes the journal larger than this; 0: no limit. Durable in group.toml.
  Result<> limit_journal(std::uint64_t bytes_max);
  /// `hotbackup unlink`: role none, for good. Capture lets writes pass, servers drop the group.
  Result<> turn_off();

  /// A slave's first contact: adopts the group id, durably. kRefused when it has another.
  Result<> adopt_id(const GroupId& id, const std::string& master_name);
  void set_epoch(const Epoch& epoch);

  // ---- Roles: role_changes.cc ----
  Epoch known_epoch() const {
    return {layout_->roles.known_counter.load(), NodeId(layout_->roles.known_node.load())};
  }
  /// A peer serves the group, or has told of one that does, in `epoch`.
  enum class Heard {
    kSame,      // what is known here
    kOlder,     // it is to be refused
    kNewer,     // known and durable from here on; a master is fenced
    kConflict,  // the same counter from two nodes: a master is fenced, and a person has to decide
  };
  /// Rule R7: a master's gate is closed before anything else. `master` may be empty.
  Result<Heard> hear_epoch(const Epoch& epoch, const std::string& master);
  /// The next epoch of this node, durably: older masters are refused from now on.
  Result<Epoch> begin_epoch();
  /// Undoes begin_epoch, where no frame of it was written.
  Result<> forget_epoch(const Epoch& back, const std::string& master);
  /// The gate opens: `epoch` is in the journal, and the baselines.
  Result<> become_master(const Epoch& epoch);
  /// A master that gives its role up: nothing is appended any more when this returns. kFenced when
  /// `made` is no longer the last update.
  Result<> resign(const Epoch& next, const std::string& master, UpdateNumber made);
  /// Undoes resign.
  Result<> take_back(const Epoch& back);
  /// A fenced node's history is its master's again.
  Result<> become_slave();
  /// What the copies hold is known to the applier.
  Result<> settled();
  bool wrote() const { return layout_->roles.wrote.load() != 0; }

  /// Until when no write transaction begins; see RoleState. Pausing and moving on fail with
  /// kTimeout when the gate has opened by itself meanwhile.
  Result<> pause_gate(std::chrono::milliseconds length, bool first);
  void open_gate();
  /// A peer has confirmed that this master's epoch is the newest.
  void confirm_epoch();

  /// The peer has received what was sent at this time of CLOCK_BOOTTIME.
  void renew_lease(PeerEntry& peer, std::int64_t sent_ns);

  /// From the configuration, as set_loss_limit.
  Result<> set_waits(std::chrono::milliseconds boot_wait, std::chrono::milliseconds lease);

  /// Changes whenever keep-local rules change: who has read them reads them again.
  std::uint32_t keep_local_ticket() const { return layout_->keep_local_sequence.load(); }
  /// Of the environment with this name in the configuration; none is no rule. kBusy where they are
  /// just being changed, or a change was cut short: `hotbackup init` again finishes it.
  Result<update::KeepLocalRules> keep_local(std::string_view configured) const;
  /// Of every environment that has rules, by name.
  Result<std::vector<update::EnvironmentRules>> keep_local() const;

  /// Whether a copy whose last transaction is `last` was written by the applier, and by programs in
  /// their own keep-local data, only: a commit that a death cut short has happened or not, both are
  /// ours; nothing is known before the first, or from a time as master. The caller holds LMDB's
  /// writer lock, or is the only one who writes here by right. Where the answer is yes, last_txnid
  /// is `last` from here on.
  static bool accounts_for(EnvironmentEntry& entry, TxnId last);
  static std::string describe_foreign_write(const EnvironmentEntry& entry, TxnId last);

  /// Entry of a peer, made if need be; nullptr when the table is full.
  PeerEntry* peer(std::string_view name);
  void set_link(PeerEntry& peer, LinkState state, std::string_view text = {});
  /// The peer's clock minus this node's, known to within `doubt`. An incident while it is more than
  /// a second.
  void note_clock(const PeerEntry& peer, std::chrono::nanoseconds offset,
                  std::chrono::nanoseconds doubt);
  /// The same of a message that was under way for a time nobody knows: the offset is at least that.
  /// So a clock that was stepped while the link stands is seen by the node that lies behind.
  void hear_clock(const PeerEntry& peer, std::chrono::nanoseconds at_least);
  PeerClock& clock_of(const PeerEntry& peer) { return layout_->clocks[&peer - layout_->peers]; }

  /// What would be lost now, and the limit of it.
  Exposure exposure() { return Exposure(*layout_); }
  /// After a peer's numbers have moved.
  void note_acknowledged() { exposure().recompute_acknowledged(); }

  /// What an administrator should know about this group on this node.
  IncidentTable incidents() { return IncidentTable(*layout_); }

  /// Sleeps until the published number may have moved since the ticket was taken, or the timeout:
  /// take the ticket, look at published(), then wait.
  void wait_published(std::uint32_t seen, std::chrono::milliseconds timeout);
  std::uint32_t published_ticket() const { return layout_->published_wake.load(); }
  void notify_published();
  void notify_acknowledged() { os::futex_notify(layout_->acknowledged_wake); }

  /// Server liveness. hold_server keeps a lock until the Group closes; kBusy when another has it.
  enum class Server { kMaster = 0, kSlave = 1, kChange = 2 };  // the last: a command of roles
  Result<> hold_server(Server server);
  void release_server(Server server);  // a clean stop
  bool server_alive(Server server) const;

 private:
  Group() = default;
  Result<> map_or_rebuild();
  Result<> check_version(int fd, const struct stat& status) const;
  Result<std::unique_ptr<os::Directory>> open_journal(const os::Permissions& permissions);
  Result<bool> map_existing();
  Result<> rebuild(const GroupRecord& record);
  Result<> rebuild_walk();
  Result<> tell_unlogged();
  void set_waits(const GroupRecord& record, bool begun);
  void put_known(const Epoch& epoch, const std::string& master);
  Result<> fence(const Epoch& known, const std::string& master, const std::string& text);
  void restore_peer_numbers();
  void add_pattern(const PatternRecord& pattern);
  void put_keep_local(const std::vector<update::EnvironmentRules>& rules);
  void put_entry(const EnvironmentRecord& record);
  Result<EnvironmentEntry*> register_environment(const EnvironmentRecord& record);

  std::string directory_;
  os::UniqueFd directory_fd_;
  Layout* layout_ = nullptr;
  std::unique_ptr<os::Directory> journal_directory_;
  std::unique_ptr<journal::Journal> journal_;
  os::UniqueFd server_locks_[3];
  std::string kept_peer_numbers_;
};

/// What '*' of `pattern` stands for in `path`, or nothing. Files ending in "-lock" or put
/// aside by `init --replace` never match.
std::optional<std::string> match_pattern(std::string_view pattern, std::string_view path);

}  // namespace hotbackup::control
