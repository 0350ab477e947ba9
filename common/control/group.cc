// SPDX-License-Identifier: Apache-2.0
#include "common/control/group.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "common/os/process.h"
#include "common/update/codec.h"

namespace hotbackup::control {
namespace {

constexpr char kControlName[] = "control";
constexpr const char* kServerLockNames[] = {"master.lock", "slave.lock"};

std::int64_t now_ns() {
  return wall_now().time_since_epoch().count();
}

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
}

}  // namespace

Group::~Group() {
  if (layout_ != nullptr) ::munmap(layout_, sizeof(Layout));
}

Result<std::unique_ptr<Group>> Group::open(const std::string& directory) {
  std::unique_ptr<Group> group(new Group);
  group->directory_ = directory;
  group->directory_fd_.reset(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!group->directory_fd_) return fail_errno("opening the group's directory " + directory);
  HOTBACKUP_TRY(group->map_or_rebuild());
  Layout& layout = *group->layout_;
  group->journal_ = std::make_unique<journal::Journal>(*group->journal_directory_, layout.tail,
                                                       layout.group, layout.segment_bytes);
  return group;
}

os::Permissions Group::permissions() const {
  return {layout_->uid, layout_->gid, static_cast<mode_t>(layout_->mode)};
}

Result<> Group::map_or_rebuild() {
  const DirectoryLock lock(directory_fd_.get());
  HOTBACKUP_ASSIGN(const bool usable, map_existing());
  if (!usable) {
    HOTBACKUP_ASSIGN(const auto record, read_group_file(directory_));
    HOTBACKUP_ASSIGN(journal_directory_,
                     os::open_directory(directory_ + "/journal", record.permissions));
    return rebuild(record);
  }
  HOTBACKUP_ASSIGN(journal_directory_, os::open_directory(directory_ + "/journal", permissions()));
  return {};
}

Result<bool> Group::map_existing() {
  const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC;
  const os::UniqueFd fd(::openat(directory_fd_.get(), kControlName, flags));
  if (!fd && errno == ENOENT) return false;
  if (!fd) return fail_errno("opening " + directory_ + "/" + kControlName);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("looking at " + directory_);
  if (static_cast<std::size_t>(status.st_size) < sizeof(Layout)) return false;
  void* memory = ::mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return fail_errno("mapping " + directory_ + "/" + kControlName);
  layout_ = static_cast<Layout*>(memory);
  const bool usable = layout_->magic == kMagic && layout_->version == kVersion &&
                      layout_->bytes == sizeof(Layout) && layout_->ready.load() == 1 &&
                      std::memcmp(layout_->boot, os::boot_id().data(), sizeof layout_->boot) == 0;
  if (usable) return true;
  ::munmap(memory, sizeof(Layout));
  layout_ = nullptr;
  return false;
}

// In place, so that a process that has the file open goes on with the same memory. Only the first
// to come after a boot gets here, or one that finds no usable file.
Result<> Group::rebuild(const GroupRecord& record) {
  const journal::RecoveredTail empty{};
  HOTBACKUP_ASSIGN(const auto tail, record.id.is_none()
                                        ? Result<journal::RecoveredTail>(empty)
                                        : journal::recover_tail(*journal_directory_, record.id));
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
  std::memcpy(l.boot, os::boot_id().data(), sizeof l.boot);
  l.group = record.id;
  l.node = record.node.value;
  copy_text(l.group_name, sizeof l.group_name, record.name);
  copy_text(l.node_name, sizeof l.node_name, record.node_name);
  l.uid = record.permissions.uid;
  l.gid = record.permissions.gid;
  l.mode = record.permissions.mode;
  l.segment_bytes = record.segment_bytes;
  // The journal's last epoch tells who is master; before the first, what init said.
  Role role = record.role;
  if (tail.epoch.counter != 0) role = tail.epoch.node == record.node ? Role::kMaster : Role::kSlave;
  l.role.store(static_cast<std::uint32_t>(role));
  l.epoch_counter.store(tail.epoch.counter);
  l.epoch_node.store(tail.epoch.node.value);
  copy_text(l.master_name, sizeof l.master_name,
            role == Role::kMaster ? record.node_name : record.master_name);

  l.tail.append_lock.initialize();
  l.tail.sync_lock.initialize();
  l.tail.made.store(tail.made.value);
  l.tail.synced.store(tail.made.value);
  l.tail.segment_first.store(tail.segment_first.value);
  l.tail.segment_bytes = tail.segment_bytes;
  l.tail.offset = tail.offset;
  l.tail.chain = tail.chain;
  l.tail.epoch = tail.epoch;
  l.tail.generation.store(1);

  for (const PatternRecord& pattern : record.patterns) add_pattern(pattern);
  for (const std::string& name : record.peers) (void)peer(name);
  for (const EnvironmentRecord& environment : record.environments) put_entry(environment);
  HOTBACKUP_TRY(rebuild_walk());
  l.ready.store(1);
  return {};
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

// The txnid that each environment is due to show next, from its last update or baseline of this
// node: newest segment first, until every environment has been met.
Result<> Group::rebuild_walk() {
  HOTBACKUP_ASSIGN(const auto segments, journal::list_segments(*journal_directory_));
  std::size_t open = 0;
  for (std::uint32_t i = 0; i < environment_count(); ++i)
    if (layout_->environments[i].number != 0) ++open;
  for (std::size_t s = segments.size(); s > 0 && open > 0; --s) {
    const UpdateNumber end = s == segments.size() ? made() : segments[s].previous();
    journal::Reader reader(*journal_directory_, layout_->group);
    if (segments[s - 1] > end) continue;
    HOTBACKUP_TRY(reader.seek(segments[s - 1]));
    std::vector<std::optional<TxnId>> found(environment_count() + 1);
    while (reader.next_number() <= end) {
      HOTBACKUP_ASSIGN(const auto frame, reader.next(end));
      if (!frame) break;
      const journal::FrameHeader& header = frame->header;
      if (!header.last_part || header.is_void()) continue;
      if (header.kind == journal::FrameKind::kUpdate) {
        if (header.epoch.node.value == layout_->node && header.environment.value < found.size())
          found[header.environment.value] = header.txnid;
      } else if (header.kind == journal::FrameKind::kBaseline) {
        HOTBACKUP_ASSIGN(const auto baseline, update::read_baseline(frame->body));
        if (baseline.node.value == layout_->node && baseline.environment.value < found.size())
          found[baseline.environment.value] = baseline.txnid;
      }
    }
    for (std::uint32_t n = 1; n < found.size(); ++n) {
      EnvironmentEntry* entry = environment(EnvironmentNumber(n));
      if (!found[n] || entry == nullptr || entry->baselined.load() != 0) continue;
      entry->last_txnid.store(found[n]->value);
      entry->baselined.store(1);
      --open;
    }
  }
  return {};
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

void Group::clear_slot(EnvironmentEntry& entry) {
  entry.slot.number.store(0);
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
    return register_environment(record);
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

void Group::set_incident(std::string_view code, std::string_view text) {
  const std::string both = std::string(code) + "\n" + std::string(text);
  if (both == read_guarded(layout_->incident_sequence, layout_->incident_text,
                           sizeof layout_->incident_text))
    return;
  layout_->incident_ns.store(now_ns());
  write_guarded(layout_->incident_sequence, layout_->incident_text, sizeof layout_->incident_text,
                both);
}

void Group::clear_incident() {
  write_guarded(layout_->incident_sequence, layout_->incident_text, sizeof layout_->incident_text,
                "");
}

std::optional<Group::IncidentText> Group::incident() const {
  const std::string both = read_guarded(layout_->incident_sequence, layout_->incident_text,
                                        sizeof layout_->incident_text);
  const std::size_t line = both.find('\n');
  if (line == std::string::npos) return std::nullopt;
  return IncidentText{both.substr(0, line), both.substr(line + 1),
                      WallTime(std::chrono::nanoseconds(layout_->incident_ns.load()))};
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
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::kBusy,
                "another server already serves group " + std::string(layout_->group_name));
  server_locks_[index] = std::move(fd);
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
  layout_->servers[index].stopped_ns.store(now_ns());
  server_locks_[index].reset();
}

bool Group::server_alive(Server server) const {
  const auto index = static_cast<std::size_t>(server);
  if (server_locks_[index]) return true;
  const os::UniqueFd fd(
      ::openat(directory_fd_.get(), kServerLockNames[index], O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return false;
  return ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0;
}

void copy_text(char* to, std::size_t size, std::string_view text) {
  const std::size_t length = std::min(size - 1, text.size());
  std::memcpy(to, text.data(), length);
  std::memset(to + length, 0, size - length);
}

std::optional<std::string> match_pattern(std::string_view pattern, std::string_view path) {
  constexpr std::string_view kLock = "-lock";
  if (path.size() >= kLock.size() && path.substr(path.size() - kLock.size()) == kLock)
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

std::string read_guarded(const std::atomic<std::uint32_t>& sequence, const char* text,
                         std::size_t size) {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const std::uint32_t before = sequence.load();
    if (before % 2 != 0) continue;
    std::string copy(text, ::strnlen(text, size));
    if (sequence.load() == before) return copy;
  }
  return {};
}

void write_guarded(std::atomic<std::uint32_t>& sequence, char* text, std::size_t size,
                   std::string_view value) {
  sequence.fetch_add(sequence.load() % 2 == 0 ? 1 : 2);
  copy_text(text, size, value);
  sequence.fetch_add(1);
}

}  // namespace hotbackup::control
