// SPDX-License-Identifier: Apache-2.0
#include "common/control/group.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "common/lmdb/environment.h"
#include "common/lmdb/meta.h"
#include "common/os/ownership.h"
#include "common/os/process.h"
#include "common/update/codec.h"

namespace hotbackup::control {
namespace {

/// A server's mark: a lock that can be asked for without taking it, so that asking never stops a
/// server from starting.
struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

constexpr const char* kServerLockNames[] = {"master.lock", "slave.lock", "change.lock"};

std::int64_t now_ns() {
  return wall_now().time_since_epoch().count();
}

bool has_slaves(const Layout& layout) {
  const auto end = layout.peers + layout.peer_count.load();
  return std::any_of(layout.peers, end, [](const PeerEntry& peer) {
    return peer.seeded.load() != 0 || peer.journaled.load() != 0;
  });
}

/// Before the first seed nobody asks what an environment holds. Later on a master has to know:
/// whatever is there already no slave has.
std::optional<lmdb::MetaPeek> look_before_join(const Layout& layout,
                                               const EnvironmentRecord& record) {
  if (static_cast<Role>(layout.role.load()) != Role::kMaster || !has_slaves(layout))
    return std::nullopt;
  auto there = lmdb::peek_meta(lmdb::data_file(record.path, record.subdirectory));
  return there ? std::optional(*there) : std::nullopt;
}

/// Without items it is as good as new; from here on LMDB is due to show this.
void set_known(EnvironmentEntry& entry, const lmdb::MetaPeek& there) {
  constexpr std::uint32_t kNotInTheJournal = 2;
  entry.last_txnid.store(there.last_txnid.value);
  entry.inode.store(there.inode);
  entry.baselined.store(kNotInTheJournal);
}

}  // namespace

Group::~Group() {
  if (layout_ != nullptr) ::munmap(layout_, sizeof(Layout));
}

Result<std::unique_ptr<Group>> Group::open(const std::string& directory,
                                           const TrustedOwners* trusted) {
  std::unique_ptr<Group> group(new Group);
  group->directory_ = directory;
  group->directory_fd_.reset(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!group->directory_fd_) return fail_errno("opening the group's directory " + directory);
  struct stat status {};
  if (trusted != nullptr &&
      (::fstat(group->directory_fd_.get(), &status) != 0 || !trusted->include(status.st_uid)))
    return fail(ErrorCode::kRefused, directory + " belongs to a stranger");
  HOTBACKUP_TRY(group->map_or_rebuild());
  Layout& layout = *group->layout_;
  group->journal_ = std::make_unique<journal::Journal>(*group->journal_directory_, layout.tail,
                                                       layout.group, layout.segment_bytes);
  return group;
}

os::Permissions Group::permissions() const {
  return {layout_->uid, layout_->gid, static_cast<mode_t>(layout_->mode & 0777)};
}

bool Group::shares_pid_namespace() {
  if (layout_->pid_namespace == 0 || os::pid_namespace() == layout_->pid_namespace) return true;
  const std::string name = os::own_name();
  incidents().raise("HB-pid-namespace", name,
                    name + " runs in another pid namespace than the group, and may not write");
  return false;
}

UpdateNumber Group::decided() const {
  // `made` first: a slot opens before its number is made.
  std::uint64_t number = layout_->tail.made.load();
  const std::uint32_t count = layout_->environment_count.load();
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t open = layout_->environments[i].slot.number.load();
    if (open != 0 && open <= number) number = open - 1;
  }
  return UpdateNumber(number);
}

UpdateNumber Group::published() const {
  // `synced` first: it only grows, so the result never passes what is durable.
  const UpdateNumber durable = synced();
  return std::min(durable, decided());
}

void Group::open_slot(EnvironmentEntry& entry, const journal::Appended& appended, TxnId txnid) {
  CommitSlot& slot = entry.slot;
  slot.txnid = txnid.value;
  slot.segment_first = appended.location.segment_first.value;
  slot.offset = appended.location.offset;
  slot.checksum = appended.location.checksum;
  slot.pid.store(static_cast<std::uint32_t>(::getpid()));
  slot.number.store(appended.number.value);
}

journal::FrameLocation Group::slot_location(const EnvironmentEntry& entry) {
  return {UpdateNumber(entry.slot.segment_first), entry.slot.offset, entry.slot.checksum};
}

void Group::clear_slot(EnvironmentEntry& entry, UpdateNumber number) {
  std::uint64_t expected = number.value;
  entry.slot.number.compare_exchange_strong(expected, 0);
  notify_published();
}

EnvironmentEntry* Group::environment(EnvironmentNumber number) {
  if (number.value == 0 || number.value > environment_count()) return nullptr;
  EnvironmentEntry& entry = layout_->environments[number.value - 1];
  return entry.number == number.value ? &entry : nullptr;
}

EnvironmentEntry* Group::environment_at(std::string_view path) {
  const auto count = static_cast<std::uint32_t>(environment_count());
  for (std::uint32_t i = 0; i < count; ++i) {
    EnvironmentEntry& entry = layout_->environments[i];
    if (entry.number != 0 && path == entry.path) return &entry;
  }
  return nullptr;
}

Result<EnvironmentEntry*> Group::join(std::string_view path, bool subdirectory) {
  if (EnvironmentEntry* entry = environment_at(path)) return entry;
  const std::uint32_t count = layout_->pattern_count.load();
  for (std::uint32_t i = 0; i < count; ++i) {
    const PatternEntry& pattern = layout_->patterns[i];
    const auto match = match_pattern(pattern.path, path);
    if (!match) continue;
    HOTBACKUP_ASSIGN(auto lock, journal_->lock());
    if (EnvironmentEntry* entry = environment_at(path)) return entry;
    EnvironmentRecord record;
    record.number = EnvironmentNumber(static_cast<std::uint32_t>(environment_count()) + 1);
    record.configured = pattern.name;
    record.match = *match;
    record.path = path;
    record.subdirectory = subdirectory;
    record.name = pattern.name;
    if (std::strchr(pattern.path, '*') != nullptr) {
      std::size_t earlier = 0;
      for (std::uint32_t e = 0; e < environment_count(); ++e)
        if (record.configured == layout_->environments[e].configured) ++earlier;
      record.name += "-" + std::to_string(earlier + 1);
    }
    const auto there = look_before_join(*layout_, record);
    if (there && there->entries != 0) {
      record.unlogged_at = made().next();
      record.came_with_data = true;
    }
    HOTBACKUP_ASSIGN(EnvironmentEntry * entry, register_environment(record));
    if (record.came_with_data)
      incidents().raise("HB-unlogged", record.name,
                        "environment " + record.name +
                            " joined with data that no slave has: they get a new seed");
    else if (there)
      set_known(*entry, *there);
    return entry;
  }
  return nullptr;
}

Result<EnvironmentEntry*> Group::add_environment(const EnvironmentRecord& record) {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  if (EnvironmentEntry* entry = environment(record.number)) return entry;
  return register_environment(record);
}

Result<EnvironmentEntry*> Group::register_environment(const EnvironmentRecord& record) {
  EnvironmentEntry fields{};
  if (record.number.value == 0 || record.number.value > kEnvironmentsMax)
    return fail(ErrorCode::kNoSpace,
                "a group holds at most " + std::to_string(kEnvironmentsMax) + " environments");
  if (record.path.size() >= sizeof fields.path || record.match.size() >= sizeof fields.match ||
      record.name.size() >= sizeof fields.name)
    return fail(ErrorCode::kConfig, "the path of environment " + record.name + " is too long");
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  stored.environments.push_back(record);
  HOTBACKUP_TRY(write_group_file(directory_, stored));
  put_entry(record);
  return environment(record.number);
}

Result<> Group::adopt_id(const GroupId& id, const std::string& master_name) {
  HOTBACKUP_ASSIGN(auto lock, journal_->lock());
  if (!layout_->group.is_none() && layout_->group != id)
    return fail(ErrorCode::kRefused, "this node's copy belongs to group id " +
                                         layout_->group.to_hex() + ", the master's is " +
                                         id.to_hex());
  if (layout_->group == id && master_name == layout_->master_name) return {};
  HOTBACKUP_ASSIGN(auto stored, read_group_file(directory_));
  stored.id = id;
  stored.master_name = master_name;
  HOTBACKUP_TRY(write_group_file(directory_, stored));
  copy_text(layout_->master_name, sizeof layout_->master_name, master_name);
  if (layout_->group.is_none()) {
    layout_->group = id;
    journal_->adopt_group(id);
  }
  return {};
}

void Group::set_epoch(const Epoch& epoch) {
  layout_->epoch_node.store(epoch.node.value);
  layout_->epoch_counter.store(epoch.counter);
  if (epoch.counter > known_epoch().counter) {
    layout_->roles.known_node.store(epoch.node.value);
    layout_->roles.known_counter.store(epoch.counter);
  }
}

PeerEntry* Group::peer(std::string_view name) {
  const std::uint32_t count = layout_->peer_count.load();
  for (std::uint32_t i = 0; i < count; ++i)
    if (name == layout_->peers[i].name) return &layout_->peers[i];
  if (count >= kPeersMax) return nullptr;
  copy_text(layout_->peers[count].name, sizeof layout_->peers[count].name, name);
  layout_->peer_count.store(count + 1);
  return &layout_->peers[count];
}

void Group::set_link(PeerEntry& peer, LinkState state, std::string_view text) {
  if (peer.link.exchange(static_cast<std::uint32_t>(state)) != static_cast<std::uint32_t>(state) ||
      peer.since_ns.load() == 0)
    peer.since_ns.store(now_ns());
  write_guarded(peer.text_sequence, peer.text, sizeof peer.text, text);
}

void Group::note_clock(const PeerEntry& peer, std::chrono::nanoseconds offset,
                       std::chrono::nanoseconds doubt) {
  constexpr char kCode[] = "HB-clock-differs";
  PeerClock& clock = clock_of(peer);
  clock.offset_ns.store(offset.count());
  clock.measured_ns.store(now_ns());
  const std::chrono::nanoseconds apart = offset < offset.zero() ? -offset : offset;
  if (apart - doubt <= std::chrono::seconds(1)) {
    incidents().clear(kCode, peer.name);
    return;
  }
  incidents().raise(kCode, peer.name,
                    "the clock of " + std::string(peer.name) + " is " + human_duration(apart) +
                        (offset > offset.zero() ? " ahead of" : " behind") +
                        " this node's: times in logs, in lag and of --until disagree");
}

void Group::hear_clock(const PeerEntry& peer, std::chrono::nanoseconds at_least) {
  using std::chrono::milliseconds;
  const PeerClock& clock = clock_of(peer);
  const std::chrono::nanoseconds known(clock.offset_ns.load());
  if (clock.measured_ns.load() == 0) return;
  const bool moved_on = at_least > known + milliseconds(500);
  const bool came_back = known > milliseconds(1000) && at_least <= milliseconds(1000);
  if (moved_on || came_back) note_clock(peer, at_least, std::chrono::nanoseconds(0));
}

void Group::wait_published(std::uint32_t seen, std::chrono::milliseconds timeout) {
  layout_->published_sleepers.fetch_add(1);
  os::futex_wait(layout_->published_wake, seen, timeout);
  layout_->published_sleepers.fetch_sub(1);
}

// The word changes first: who is about to sleep with an older ticket does not.
void Group::notify_published() {
  layout_->published_wake.fetch_add(1);
  if (layout_->published_sleepers.load() != 0) os::futex_notify(layout_->published_wake);
}

Result<> Group::hold_server(Server server) {
  const auto index = static_cast<std::size_t>(server);
  os::UniqueFd fd(::openat(directory_fd_.get(), kServerLockNames[index],
                           O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660));
  if (!fd) return fail_errno("opening " + directory_ + "/" + kServerLockNames[index]);
  os::Permissions seen = permissions();
  seen.mode |= 0440;  // whoever may see the group may ask whether its server lives
  os::give(directory_ + "/" + kServerLockNames[index], seen);
  struct flock whole = whole_file();
  if (::fcntl(fd.get(), F_OFD_SETLK, &whole) != 0)
    return fail(ErrorCode::kBusy,
                std::string(server == Server::kChange ? "another command changes roles of group "
                                                      : "another server already serves group ") +
                    layout_->group_name);
  server_locks_[index] = std::move(fd);
  if (server == Server::kChange) return {};
  ServerEntry& entry = layout_->servers[index];
  entry.pid.store(static_cast<std::uint32_t>(::getpid()));
  entry.started_ns.store(now_ns());
  entry.alive_ns.store(now_ns());
  entry.stopped_ns.store(0);
  return {};
}

void Group::release_server(Server server) {
  const auto index = static_cast<std::size_t>(server);
  if (!server_locks_[index]) return;
  if (server == Server::kChange) return server_locks_[index].reset();
  layout_->servers[index].stopped_ns.store(now_ns());
  server_locks_[index].reset();
}

bool Group::server_alive(Server server) const {
  const auto index = static_cast<std::size_t>(server);
  if (server_locks_[index]) return true;
  const os::UniqueFd fd(
      ::openat(directory_fd_.get(), kServerLockNames[index], O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return false;
  struct flock whole = whole_file();
  return ::fcntl(fd.get(), F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
}

std::optional<std::string> match_pattern(std::string_view pattern, std::string_view path) {
  // Lock files, and what `init --replace` has put aside.
  const std::string_view file = path.substr(path.rfind('/') + 1);
  if (file.ends_with("-lock") || file.find(".replaced-") != std::string_view::npos)
    return std::nullopt;
  const std::size_t star = pattern.find('*');
  if (star == std::string_view::npos)
    return pattern == path ? std::optional<std::string>("") : std::nullopt;
  const std::string_view before = pattern.substr(0, star);
  const std::string_view after = pattern.substr(star + 1);
  if (path.size() < before.size() + after.size() || path.substr(0, before.size()) != before ||
      path.substr(path.size() - after.size()) != after)
    return std::nullopt;
  const std::string_view match =
      path.substr(before.size(), path.size() - before.size() - after.size());
  if (match.find('/') != std::string_view::npos) return std::nullopt;
  return std::string(match);
}

}  // namespace hotbackup::control
