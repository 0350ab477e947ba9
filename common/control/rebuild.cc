// SPDX-License-Identifier: Apache-2.0
// Mapping the control file, and rebuilding it from group.toml and the journal.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstring>
#include <limits>
#include <set>

#include "common/control/apply_decisions.h"
#include "common/control/group.h"
#include "common/os/process.h"
#include "common/update/codec.h"

namespace hotbackup::control {
namespace {

constexpr char kControlName[] = "control";

/// flock on the group's directory: one process at a time maps or rebuilds.
class DirectoryLock {
 public:
  explicit DirectoryLock(int fd) : fd_(fd) {
    while (::flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~DirectoryLock() { ::flock(fd_, LOCK_UN); }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  const int fd_;
};

void fill_entry(EnvironmentEntry& entry, const EnvironmentRecord& record) {
  entry.subdirectory = record.subdirectory ? 1 : 0;
  copy_text(entry.name, sizeof entry.name, record.name);
  copy_text(entry.configured, sizeof entry.configured, record.configured);
  copy_text(entry.match, sizeof entry.match, record.match);
  copy_text(entry.path, sizeof entry.path, record.path);
  entry.number = record.number.value;
  entry.unlogged_at.store(record.unlogged_at.value);
  entry.state.store(static_cast<std::uint32_t>(
      record.unlogged_at.value != 0 ? EnvironmentState::kUnlogged : EnvironmentState::kNormal));
}

/// Where the journal says nothing of it any more (last_words.h).
void set_due_by_note(EnvironmentEntry& entry, const EnvironmentRecord& record) {
  if (entry.baselined.load() != 0 || record.quiet_txnid.value == 0) return;
  entry.last_txnid.store(record.quiet_txnid.value);
  entry.inode.store(record.quiet_inode);
  entry.baselined.store(1);
  entry.recovery_due.store(1);
}

constexpr char kUnseen[] = "programs that cannot be seen from here";

/// Who else has the control file mapped.
struct Users {
  std::string names;
  bool all_known = true;  // false: nobody was found, and there may be somebody
};

/// `mapped`: whether the caller has mapped it by this descriptor already.
Users users_of(int fd, const struct stat& status, bool mapped) {
  Users users;
  const os::Mappers mappers = os::processes_mapping(status.st_ino, std::string("/") + kControlName);
  for (const pid_t pid : mappers.pids)
    users.names += (users.names.empty() ? "" : ", ") + ("pid " + std::to_string(pid)) + " (" +
                   os::process_name(pid) + ")";
  if (!users.names.empty()) return users;
  // The kernel knows whether it is open elsewhere, whoever may look at whom and in which namespace;
  // it tells the file's owner, who has not opened it twice himself.
  const bool opened_twice = mappers.own > (mapped ? 1 : 0);
  users.all_known = opened_twice && mappers.all_seen;
  if (opened_twice) return users;
  ::fcntl(fd, F_SETSIG, SIGURG);  // by default nothing, where somebody opens it this very moment
  if (::fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
    (void)::fcntl(fd, F_SETLEASE, F_UNLCK);
    users.all_known = true;
  } else if (errno == EAGAIN) {
    users.names = kUnseen;
  }
  return users;
}

Error refuse(Layout& layout, const std::string& why) {
  const std::string name = os::own_name();
  IncidentTable(layout).raise("HB-pid-namespace", name, name + " " + why + ", and may not write");
  return Error(ErrorCode::kRefused, name + " " + why);
}

/// Whether a control file that is laid out is this boot's. False where it may be laid out anew. A
/// program in a container may see another boot id, or, with ProcSubset=pid, none, while others live
/// with this memory: a real boot has left nobody who has it mapped.
Result<bool> is_of_this_boot(int fd, const struct stat& status, Layout& layout) {
  const auto boot = os::boot_id();
  if (!boot)
    return fail(refuse(layout, "cannot read this machine's boot id: " + boot.error().text() +
                                   " (of a service: ProcSubset=pid)"));
  if (std::memcmp(layout.boot, boot->data(), sizeof layout.boot) == 0) return true;
  const Users users = users_of(fd, status, /*mapped=*/true);
  const bool same_namespace =
      layout.pid_namespace != 0 && layout.pid_namespace == os::pid_namespace();
  if (users.names.empty() && (users.all_known || same_namespace)) return false;
  return tl::unexpected(
      refuse(layout, (same_namespace ? "sees another boot id"
                                     : "runs in another pid namespace and sees another boot id") +
                         std::string(" than ") + (users.names.empty() ? kUnseen : users.names) +
                         " in the group"));
}

}  // namespace

Result<std::unique_ptr<os::Directory>> Group::open_journal(const os::Permissions& permissions) {
  return os::open_directory(directory_fd_.get(), "journal", directory_ + "/journal", permissions);
}

Result<> Group::map_or_rebuild() {
  const DirectoryLock lock(directory_fd_.get());
  HOTBACKUP_ASSIGN(const bool usable, map_existing());
  if (!usable) {
    HOTBACKUP_ASSIGN(const auto record, read_group_file(directory_));
    HOTBACKUP_ASSIGN(journal_directory_, open_journal(record.permissions));
    return rebuild(record);
  }
  HOTBACKUP_ASSIGN(journal_directory_, open_journal(permissions()));
  return {};
}

Result<bool> Group::map_existing() {
  const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC;
  const os::UniqueFd fd(::openat(directory_fd_.get(), kControlName, flags));
  if (!fd && errno == ENOENT) return false;
  if (!fd) return fail_errno("opening " + directory_ + "/" + kControlName);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("looking at " + directory_);
  HOTBACKUP_TRY(check_version(fd.get(), status));
  if (static_cast<std::size_t>(status.st_size) < sizeof(Layout)) return false;
  void* memory = ::mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return fail_errno("mapping " + directory_ + "/" + kControlName);
  layout_ = static_cast<Layout*>(memory);
  const bool laid_out = layout_->magic == kMagic && layout_->version == kVersion &&
                        layout_->bytes == sizeof(Layout) && layout_->ready.load() == 1;
  Result<bool> usable = false;
  if (laid_out) usable = is_of_this_boot(fd.get(), status, *layout_);
  if (usable && *usable) return true;
  ::munmap(memory, sizeof(Layout));
  layout_ = nullptr;
  return usable;
}

// An upgrade: programs that started before it go on with the older library and its layout of this
// memory. It is laid out anew when the last of them has gone, and not before.
Result<> Group::check_version(int fd, const struct stat& status) const {
  // The first fields are the same in every version: whatever the size of the rest.
  struct {
    std::uint32_t magic;
    std::uint32_t version;
    std::uint64_t bytes;
    std::uint32_t ready;
    char boot[sizeof Layout::boot];
  } head{};
  static_assert(offsetof(decltype(head), boot) == offsetof(Layout, boot));
  if (::pread(fd, &head, sizeof head, 0) != sizeof head || head.magic != kMagic ||
      head.version == kVersion)
    return {};
  const Users users = users_of(fd, status, /*mapped=*/false);
  if (users.names.empty() && users.all_known) return {};
  HOTBACKUP_ASSIGN(const auto boot, os::boot_id());
  if (users.names.empty() && std::memcmp(head.boot, boot.data(), sizeof head.boot) != 0) return {};
  return fail(ErrorCode::kVersion,
              "group " + directory_ + " is in use with the library of another version by " +
                  (users.names.empty() ? kUnseen : users.names) + ": restart them, then this");
}

// In place, so that a process that has the file open goes on with the same memory. Only the first
// to come after a boot gets here, or one that finds no usable file.
Result<> Group::rebuild(const GroupRecord& record) {
  HOTBACKUP_ASSIGN(const auto boot, os::boot_id());
  const journal::RecoveredTail empty{};
  HOTBACKUP_ASSIGN(const auto tail,
                   record.id.is_none()
                       ? Result<journal::RecoveredTail>(empty)
                       : journal::recover_tail(*journal_directory_, record.id, record.node));
  HOTBACKUP_ASSIGN(auto directory, os::open_directory(directory_, record.permissions));
  auto file = directory->open(kControlName);
  if (!file && file.error().code() == ErrorCode::kNotFound) file = directory->create(kControlName);
  if (!file) return fail(std::move(file).error());
  HOTBACKUP_TRY((*file)->allocate(sizeof(Layout), /*zeroed=*/true));
  const os::UniqueFd fd(::openat(directory_fd_.get(), kControlName, O_RDWR | O_CLOEXEC));
  void* memory = ::mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return fail_errno("mapping " + directory_ + "/" + kControlName);
  layout_ = static_cast<Layout*>(memory);

  Layout& l = *layout_;
  l.magic = kMagic;
  l.version = kVersion;
  l.bytes = sizeof(Layout);
  std::memcpy(l.boot, boot.data(), sizeof l.boot);
  l.pid_namespace = os::pid_namespace();
  l.group = record.id;
  l.node = record.node.value;
  copy_text(l.group_name, sizeof l.group_name, record.name);
  copy_text(l.node_name, sizeof l.node_name, record.node_name);
  l.uid = record.permissions.uid;
  l.gid = record.permissions.gid;
  l.mode = record.permissions.mode;
  l.segment_bytes = record.segment_bytes;
  // Not the journal's last epoch: a node that gave its role up, or heard of a newer master, has
  // none of that in its journal.
  const Role role = record.role;
  l.role.store(static_cast<std::uint32_t>(role));
  const bool newer = record.known_epoch.counter > tail.epoch.counter;
  const Epoch known = newer ? record.known_epoch : tail.epoch;
  l.roles.known_counter.store(known.counter);
  l.roles.known_node.store(known.node.value);
  l.roles.wrote.store(record.wrote ? 1 : 0);
  set_waits(record, tail.made.value != 0);
  l.epoch_counter.store(tail.epoch.counter);
  l.epoch_node.store(tail.epoch.node.value);
  copy_text(l.master_name, sizeof l.master_name,
            role == Role::kMaster ? record.node_name : record.master_name);

  l.tail.append_lock.initialize();
  l.tail.sync_lock.initialize();
  l.recovery_lock.initialize();
  l.incident_lock.initialize();
  l.tail.made.store(tail.made.value);
  l.tail.synced.store(tail.made.value);
  l.tail.segment_first.store(tail.segment_first.value);
  l.tail.segment_bytes = tail.segment_bytes;
  l.tail.offset = tail.offset;
  l.tail.chain = tail.chain;
  l.tail.epoch = tail.epoch;
  l.tail.generation.store(1);
  l.tail.bytes_max.store(record.journal_bytes_max);

  for (const PatternRecord& pattern : record.patterns) add_pattern(pattern);
  for (const std::string& name : record.peers) (void)peer(name);
  for (const EnvironmentRecord& environment : record.environments) put_entry(environment);
  put_keep_local(record.keep_local);
  HOTBACKUP_TRY(rebuild_walk());
  if (role == Role::kMaster)
    for (const EnvironmentRecord& environment : record.environments)
      if (EnvironmentEntry* entry = this->environment(environment.number))
        set_due_by_note(*entry, environment);
  HOTBACKUP_ASSIGN(const auto decisions, read_apply_decisions(directory_));
  if ((role == Role::kSlave || role == Role::kMaster) && !decisions.differs.empty())
    incidents().raise("HB-copy-differs", "", decisions.differs);
  if (!decisions.unprepared.empty()) incidents().raise("HB-post-restore", "", decisions.unprepared);
  restore_peer_numbers();
  exposure().set_limit(record.limit, record.peers);
  l.ready.store(1);
  return {};
}

// After a reboot a master does not know whether somebody was promoted meanwhile.
void Group::set_waits(const GroupRecord& record, bool begun) {
  RoleState& roles = layout_->roles;
  roles.lease_ns.store(static_cast<std::int64_t>(record.lease_ms) * 1'000'000);
  roles.lease_until_ns.store(begun ? 0 : std::numeric_limits<std::int64_t>::max());
  if (record.role != Role::kMaster || !begun || record.peers.empty() || record.boot_wait_ms == 0)
    return;
  roles.gate_until_ns.store(os::boottime_ns() +
                            static_cast<std::int64_t>(record.boot_wait_ms) * 1'000'000);
  roles.unconfirmed.store(1);
}

void Group::add_pattern(const PatternRecord& pattern) {
  const std::uint32_t count = layout_->pattern_count.load();
  if (count >= kPatternsMax) return;
  PatternEntry& entry = layout_->patterns[count];
  copy_text(entry.name, sizeof entry.name, pattern.name);
  copy_text(entry.path, sizeof entry.path, pattern.path);
  layout_->pattern_count.store(count + 1);
}

void Group::put_entry(const EnvironmentRecord& record) {
  if (record.number.value == 0 || record.number.value > kEnvironmentsMax) return;
  fill_entry(layout_->environments[record.number.value - 1], record);
  if (layout_->environment_count.load() < record.number.value)
    layout_->environment_count.store(record.number.value);
}

namespace {

/// What the journal says last about an environment of this node.
struct LastWords {
  TxnId txnid;
  UpdateNumber number;    // 0: a baseline
  UpdateNumber previous;  // the update with the txnid before; 0: none, or not met yet
  std::uint64_t checksum = 0;
  bool from_baseline = false;  // met in this stretch: nothing before it counts
};

/// Of two updates with one txnid only the later can be real: LMDB did not commit the other.
Result<> void_earlier(journal::Journal& journal, const LastWords& earlier) {
  return journal.set_void(earlier.number, {UpdateNumber(0), 0, earlier.checksum});
}

Result<> take_in(journal::Journal& journal, NodeId node, const journal::FrameView& frame,
                 std::vector<std::optional<LastWords>>& last) {
  const journal::FrameHeader& header = frame.header;
  if (!header.last_part || header.is_void()) return {};
  if (header.kind == journal::FrameKind::kUpdate) {
    if (header.epoch.node != node || header.environment.value >= last.size()) return {};
    std::optional<LastWords>& words = last[header.environment.value];
    LastWords now{header.txnid, header.number, {}, header.checksum, words && words->from_baseline};
    if (words && words->number.value != 0) {
      now.previous = words->number;
      if (words->txnid == header.txnid) {
        HOTBACKUP_TRY(void_earlier(journal, *words));
        now.previous = words->previous;
      }
    }
    words = now;
  } else if (header.kind == journal::FrameKind::kBaseline) {
    HOTBACKUP_ASSIGN(const auto baseline, update::read_baseline(frame.body));
    if (baseline.node == node && baseline.environment.value < last.size())
      last[baseline.environment.value] = LastWords{baseline.txnid, {}, {}, 0, true};
  }
  return {};
}

void set_due(EnvironmentEntry& entry, const LastWords& words) {
  entry.last_txnid.store(words.txnid.value);
  entry.baselined.store(1);
  entry.recovery_due.store(1);
  if (words.number.value == 0) return;
  entry.slot.txnid = words.txnid.value;
  entry.slot.segment_first = 0;
  entry.slot.offset = 0;
  entry.slot.checksum = words.checksum;
  entry.slot.number.store(words.number.value);
}

/// What an older stretch adds. True when nothing older needs to be looked at.
bool set_from_stretch(EnvironmentEntry& entry, const LastWords& words) {
  if (entry.baselined.load() == 0) {
    set_due(entry, words);
    entry.previous_update.store(words.previous.value);
    return words.from_baseline || words.previous.value != 0;
  }
  if (words.txnid.next().value == entry.last_txnid.load())
    entry.previous_update.store(words.number.value);
  return true;
}

}  // namespace

// The txnid that each environment is due to show, from its last two updates or baseline of this
// node: newest segment first, until that is known of every environment.
Result<> Group::rebuild_walk() {
  HOTBACKUP_ASSIGN(const auto segments, journal::list_segments(*journal_directory_));
  journal::Journal journal(*journal_directory_, layout_->tail, layout_->group,
                           layout_->segment_bytes);
  if (layout_->roles.wrote.load() == 0) return tell_unlogged();
  std::set<std::uint32_t> open;
  for (std::uint32_t n = 1; n <= environment_count(); ++n)
    if (environment(EnvironmentNumber(n)) != nullptr) open.insert(n);
  for (std::size_t s = segments.size(); s > 0 && !open.empty(); --s) {
    const UpdateNumber end = s == segments.size() ? made() : segments[s].previous();
    journal::Reader reader(*journal_directory_, layout_->group);
    if (segments[s - 1] > end) continue;
    HOTBACKUP_TRY(reader.seek(segments[s - 1]));
    std::vector<std::optional<LastWords>> last(environment_count() + 1);
    while (reader.next_number() <= end) {
      HOTBACKUP_ASSIGN(const auto frame, reader.next(end));
      if (!frame) break;
      HOTBACKUP_TRY(take_in(journal, NodeId(layout_->node), *frame, last));
    }
    std::erase_if(open, [&](std::uint32_t n) {
      return last[n] && set_from_stretch(*environment(EnvironmentNumber(n)), *last[n]);
    });
  }
  return tell_unlogged();
}

Result<> Group::tell_unlogged() {
  for (std::uint32_t n = 1; n <= environment_count(); ++n)
    if (EnvironmentEntry* entry = environment(EnvironmentNumber(n));
        entry != nullptr && entry->state.load() != 0)
      incidents().raise("HB-unlogged", entry->name,
                        "environment " + std::string(entry->name) +
                            " was written without capture before this machine started");
  return {};
}

}  // namespace hotbackup::control
