// SPDX-License-Identifier: Apache-2.0
// The control file's bytes: memory shared by every process of a group on one node. Fully allocated
// when made and never shrunk. It is a cache and a meeting place: what must survive lies in
// group.toml and the journal, from which it is rebuilt. docs/formats/control.md.
#pragma once

#include <atomic>
#include <cstdint>

#include "common/base/ids.h"
#include "common/control/loss_limit.h"
#include "common/journal/tail.h"

namespace hotbackup::control {

inline constexpr std::uint32_t kMagic = 0x31434248;  // "HBC1"
inline constexpr std::uint32_t kVersion = 10;
inline constexpr std::size_t kEnvironmentsMax = 1024;
inline constexpr std::size_t kPatternsMax = 64;
inline constexpr std::size_t kPeersMax = 16;
inline constexpr std::size_t kIncidentsMax = 64;
inline constexpr std::size_t kExposureMarks = 256;
inline constexpr std::size_t kKeepLocalBytesMax = 2000;  // as in update/keep_local.h

enum class Role : std::uint32_t { kNone = 0, kMaster = 1, kSlave = 2, kFenced = 3 };

/// One commit slot: an update that is in the journal and whose fate is open. CAPTURE section 2.
/// number is written last when it opens and zeroed to clear it.
struct CommitSlot {
  std::atomic<std::uint64_t> number;  // 0: free
  std::uint64_t txnid;
  std::uint64_t segment_first;  // where to set the void word
  std::uint64_t offset;
  std::uint64_t checksum;
  std::uint32_t kept_local;  // 1: sync LMDB whole before the slot is cleared
  std::atomic<std::uint32_t> pid;
};

/// What a slave's applier does: works, waits for `resume`, has met what it cannot apply.
enum class ApplyState : std::uint32_t { kRunning = 0, kPaused = 1, kStopped = 2 };

/// Unlogged: something was written there that the journal does not have, so that copies lack it
/// until the next seed.
enum class EnvironmentState : std::uint32_t { kNormal = 0, kUnlogged = 1 };

struct alignas(64) EnvironmentEntry {
  // Written once, before environment_count covers it.
  std::uint32_t number;        // index + 1
  std::uint32_t subdirectory;  // 1: directory with data.mdb
  char name[72];               // "zones-3"
  char configured[72];         // "zones"
  char match[128];             // what '*' stands for
  char path[512];              // canonical path of the directory or file

  CommitSlot slot;
  // Txnid that LMDB shows after the last captured update or the baseline; 0: no baseline yet.
  std::atomic<std::uint64_t> last_txnid;
  // 1: last_txnid counts; 2: it does, and no baseline is journaled yet (Group::join); 0: unknown
  std::atomic<std::uint32_t> baselined;
  std::atomic<std::uint32_t> state;  // EnvironmentState
  // Slave only: the txnid of a commit that has begun and is no foreign write (the applier's, or a
  // program's of its keep-local data; stored under LMDB's writer lock, which the commit lets go
  // before last_txnid can follow), and which file the copy is (0: not known).
  std::atomic<std::uint64_t> applying_txnid;
  std::atomic<std::uint64_t> file_identity;
  std::atomic<std::uint64_t> unlogged_at;  // a seed at this number or later mends it
  // Set at the rebuild after a boot: nobody opens it before common/recovery has brought it level.
  // Its last update keeps the slot open until then.
  std::atomic<std::uint32_t> recovery_due;
  std::atomic<std::uint64_t> previous_update;  // then: the one before that in the slot; 0: none
  // A program that does not sync has committed since the last full sync.
  std::atomic<std::uint32_t> unsynced_commits;
  std::atomic<std::uint64_t> inode;  // of the data file when its baseline was made; 0: not known
};

struct PatternEntry {
  char name[72];   // environment name in the configuration
  char path[512];  // absolute, with or without one '*' in the last component
};

/// Keep-local rules of one [[group.env]]; guarded by Layout::keep_local_sequence.
struct KeepLocalEntry {
  char environment[72];
  char rules[kKeepLocalBytesMax + 1];  // texts of the rules, each with '\n' behind it
};

/// What a session with a peer is doing; names in docs/operating/status.md.
enum class LinkState : std::uint32_t {
  kStopped = 0,
  kCalling = 1,
  kWaitingForCall = 2,
  kConnected = 3,
  kSeeding = 4,
  kStreaming = 5,  // writing, waiting for ack, idle: derived from the numbers
  kWaitingForCapture = 6,
  kRefused = 7,
};

/// Whether roles could be changed back: the slave asks its master's slave server now and then.
enum class WayHome : std::uint32_t { kUnknown = 0, kReaches = 1, kDoesNot = 2 };

struct alignas(64) PeerEntry {
  char name[72];
  std::atomic<std::uint32_t> link;       // LinkState
  std::atomic<std::uint32_t> seeded;     // 1: the peer has confirmed a position since init
  std::atomic<std::uint32_t> counts;     // 1: configured, its acknowledgements count
  std::atomic<std::uint64_t> seeded_at;  // master: number of its last seed since boot
  std::atomic<std::uint64_t> sent;       // number last sent (slave: last received)
  std::atomic<std::uint64_t> journaled;  // by the slave
  std::atomic<std::uint64_t> applied;
  std::atomic<std::int64_t> heard_ns;    // wall time of its last message, 0: never
  std::atomic<std::int64_t> since_ns;    // wall time of the last change of `link`
  std::atomic<std::uint64_t> published;  // slave: the master's last known published number
  // CLOCK_BOOTTIME: master with a lease, when it sent the last message that this peer has
  // acknowledged; slave, when this peer was heard last. 0: not since the role or the boot began.
  std::atomic<std::int64_t> confirmed_ns;
  std::atomic<std::int64_t> heard_boot_ns;
  std::atomic<std::uint32_t> way_home;  // WayHome: whether the slave reaches its master
  // Reason of the last failure; guarded by text_sequence (odd while it is written).
  std::atomic<std::uint32_t> text_sequence;
  char text[256];
};

/// One server process's mark: it is alive while its lock file is locked
/// (ControlFile::server_alive).
struct alignas(64) ServerEntry {
  std::atomic<std::uint32_t> pid;
  std::atomic<std::int64_t> started_ns;
  std::atomic<std::int64_t> alive_ns;    // touched each check period
  std::atomic<std::int64_t> stopped_ns;  // clean stop; 0: none since the start
};

/// Something an administrator should know, from when it is raised until it is cleared.
struct alignas(64) IncidentEntry {
  std::atomic<std::uint32_t> open;  // 0: free
  std::atomic<std::uint32_t> count;
  std::atomic<std::int64_t> first_ns;
  std::atomic<std::int64_t> last_ns;
  char code[40];
  char subject[88];
  std::atomic<std::uint32_t> text_sequence;  // odd while the entry is written
  char text[320];
};

/// A point in the stream of updates: common/control/exposure.h.
struct ExposureMark {
  std::atomic<std::uint64_t> number;
  std::atomic<std::uint64_t> bytes;
  std::atomic<std::int64_t> time_ns;  // CLOCK_MONOTONIC
};

/// The loss limit in force and what is counted for it.
struct alignas(64) ExposureState {
  // Changed under the append lock.
  std::atomic<std::uint32_t> kind;      // LimitKind
  std::atomic<std::uint32_t> at_limit;  // AtLimit
  std::atomic<std::uint64_t> amount;
  std::atomic<std::uint64_t> wait_max_ns;  // 0: for ever
  std::atomic<std::uint32_t> applied;      // 1: wait_for = "applied"
  std::atomic<std::uint32_t> peers;        // 0: all

  std::atomic<std::uint64_t> acknowledged;  // by as many peers as have to
  std::atomic<std::uint64_t> returned;      // highest number a caller was told of; not while off
  std::atomic<std::uint64_t> passed_until;  // > acknowledged: more is exposed than the limit allows
  std::atomic<std::int64_t> waited_ns;      // CLOCK_MONOTONIC: a commit waits, or was refused
  std::atomic<std::int64_t> refused_ns;

  // Written under the append lock.
  std::atomic<std::uint64_t> bytes_through;  // of the updates appended since the limit is counted
  std::atomic<std::uint64_t> mark_count;     // placed so far; the last kExposureMarks are there
  ExposureMark marks[kExposureMarks];
};

/// How far a command that changes this node's role has come; counts while its lock is held.
enum class ChangePhase : std::uint32_t {
  kNone = 0,
  kNoCalls = 1,  // no master is answered; what was received is applied
  kLetGo = 2,    // the slave server closes the copies and gives the group up
};

/// What rules R7 and R11 rest on: epochs, the gate, the lease. docs/operating/roles.md.
struct alignas(64) RoleState {
  // The highest epoch this node has heard of; older ones are refused. Changed under the append
  // lock, durable in group.toml first.
  std::atomic<std::uint64_t> known_counter;
  std::atomic<std::uint64_t> known_node;
  // This node has been master, and its copies are not settled as a slave's yet.
  std::atomic<std::uint32_t> wrote;

  std::atomic<std::uint32_t> change_phase;     // ChangePhase
  std::atomic<std::uint32_t> change_request;   // counts up with each phase
  std::atomic<std::uint32_t> change_answered;  // by the slave server

  // Master: until this time of CLOCK_BOOTTIME no write transaction begins, unless its thread holds
  // another one in the group; 0: the gate is open. Who wants it closed longer moves it on in time;
  // when he dies, it opens by itself.
  std::atomic<std::int64_t> gate_until_ns;
  std::atomic<std::uint32_t> gate_wake;    // futex
  std::atomic<std::uint32_t> gate_passed;  // transactions begun beside another while it was closed
  std::atomic<std::uint32_t> unconfirmed;  // 1: closed since a reboot, no peer has been heard

  std::atomic<std::int64_t> lease_ns;        // 0: off
  std::atomic<std::int64_t> lease_until_ns;  // CLOCK_BOOTTIME
};

/// A slave's applier that stands still, so that all copies show exactly one number while read
/// snapshots begin, and what a comparison has fetched is put in. slave/applier_hold.cc.
struct alignas(64) HoldState {
  // Nothing beyond `number` (0: where it is) is applied before this time of CLOCK_BOOTTIME. Who
  // holds moves it on; when he dies, applying goes on by itself.
  std::atomic<std::int64_t> until_ns;
  std::atomic<std::uint64_t> number;
  std::atomic<std::uint32_t> request;   // counts up with each change
  std::atomic<std::uint32_t> answered;  // by the applier, which stands there
  // Bodies of <group>/repair to apply while it stands at `number`.
  std::atomic<std::uint64_t> repair_bytes;
  std::atomic<std::uint32_t> repair_request;
  std::atomic<std::uint32_t> repair_answered;
  std::atomic<std::uint32_t> repair_failed;
};

/// How far a peer's clock was from this node's when the link was made.
struct PeerClock {
  std::atomic<std::int64_t> measured_ns;  // wall time; 0: never
  std::atomic<std::int64_t> offset_ns;    // the peer's minus this node's
};

struct Layout {
  // Constant after the file is made. `ready` is set last.
  std::uint32_t magic;
  std::uint32_t version;
  std::uint64_t bytes;
  std::atomic<std::uint32_t> ready;
  char boot[40];
  std::uint64_t pid_namespace;  // of who made the file: locks work within one only
  GroupId group;  // a slave's is none until the first contact; set under the append lock
  std::uint64_t node;
  char group_name[72];
  char node_name[72];
  std::uint32_t uid;  // owner and mode of files of this group; -1: leave
  std::uint32_t gid;
  std::uint32_t mode;
  std::uint64_t segment_bytes;

  std::atomic<std::uint32_t> role;  // Role
  std::atomic<std::uint64_t> epoch_counter;
  std::atomic<std::uint64_t> epoch_node;
  char master_name[72];

  journal::SharedTail tail;
  std::atomic<std::uint32_t> published_wake;  // futex: changes when published may have moved
  std::atomic<std::uint32_t> published_sleepers;
  std::atomic<std::uint32_t> acknowledged_wake;  // futex: changes when a peer's numbers moved
  std::atomic<std::uint64_t> applied;            // slave: visible in every copy through this
  std::atomic<std::uint64_t> journal_limit;      // in force, in bytes; 0: none, or no server yet

  // Commands and the applier: who has changed <group>/applying counts `request` up and wakes; the
  // applier sets the state, then `answered`, then notifies acknowledged_wake.
  std::atomic<std::uint32_t> apply_wake;  // futex of the applier
  std::atomic<std::uint32_t> apply_request;
  std::atomic<std::uint32_t> apply_answered;
  std::atomic<std::uint32_t> apply_state;       // ApplyState
  std::atomic<std::uint64_t> apply_stopped_at;  // update; of kStopped

  std::atomic<std::uint32_t> pattern_count;
  std::atomic<std::uint32_t> environment_count;
  std::atomic<std::uint32_t> peer_count;
  PatternEntry patterns[kPatternsMax];
  PeerEntry peers[kPeersMax];
  ServerEntry servers[2];         // 0 master server, 1 slave server
  os::SharedMutex recovery_lock;  // one process at a time recovers
  os::SharedMutex incident_lock;  // held to change `incidents`
  IncidentEntry incidents[kIncidentsMax];
  ExposureState exposure;

  EnvironmentEntry environments[kEnvironmentsMax];

  // Changes with every change of the rules; odd while they are written (under the append lock).
  std::atomic<std::uint32_t> keep_local_sequence;
  std::atomic<std::uint32_t> keep_local_count;
  KeepLocalEntry keep_local[kPatternsMax];

  RoleState roles;
  HoldState hold;
  PeerClock clocks[kPeersMax];                // of `peers`
  std::atomic<std::uint64_t> apply_delay_ms;  // slave: how late it applies, by its configuration
};

}  // namespace hotbackup::control
