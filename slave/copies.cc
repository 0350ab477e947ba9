// SPDX-License-Identifier: Apache-2.0
#include "slave/copies.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>

#include "common/os/ownership.h"
#include "slave/copy_watch.h"

namespace hotbackup::slave {
namespace {

constexpr char kLinkName[] = "/.hotbackup";
constexpr os::Permissions kUnset;

/// Owner by name, or by number where the name is not known on the master.
bool find_owner(const std::string& owner, os::Permissions& permissions) {
  std::array<char, 4096> buffer;
  struct passwd entry {};
  struct passwd* found = nullptr;
  if (::getpwnam_r(owner.c_str(), &entry, buffer.data(), buffer.size(), &found) == 0 &&
      found != nullptr) {
    permissions.uid = found->pw_uid;
    permissions.gid = found->pw_gid;
    return true;
  }
  char* end = nullptr;
  const unsigned long number = std::strtoul(owner.c_str(), &end, 10);
  if (owner.empty() || *end != '\0') return false;
  permissions.uid = static_cast<uid_t>(number);
  return true;
}

Result<std::string> canonical(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  if (!real) return fail_errno("looking at " + path);
  return std::string(real.get());
}

bool missing_or_blank(const std::string& file) {
  struct stat status {};
  return ::stat(file.c_str(), &status) != 0 ? errno == ENOENT : status.st_size == 0;
}

}  // namespace

std::string data_directory(const std::string& path, bool subdirectory) {
  if (subdirectory) return path;
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

Result<std::string> Copies::local_path(const update::EnvironmentBody& environment) const {
  const control::Layout& layout = group_.layout();
  for (std::uint32_t i = 0; i < layout.pattern_count.load(); ++i) {
    const control::PatternEntry& pattern = layout.patterns[i];
    if (environment.configured != pattern.name || pattern.path[0] == '\0') continue;
    std::string path = pattern.path;
    const std::size_t star = path.find('*');
    if (star != std::string::npos) return path.replace(star, 1, environment.match);
    if (environment.match.empty()) return path;
    return fail(ErrorCode::kConfig, "the master's path of environment " + environment.configured +
                                        " is a pattern, so the path " + path +
                                        " here needs a '*' too");
  }
  return group_.directory() + "/copies/" + environment.name;
}

// What is configured for the group here wins over what the master has.
os::Permissions Copies::permissions_for(const update::EnvironmentBody& environment) const {
  os::Permissions permissions = group_.permissions();
  if (permissions.uid != kUnset.uid || permissions.gid != kUnset.gid) return permissions;
  const os::Permissions theirs = owner_and_mode(environment);
  permissions.uid = theirs.uid;
  permissions.gid = theirs.gid;
  if (permissions.mode == kUnset.mode) permissions.mode = theirs.mode;
  return permissions;
}

os::Permissions owner_and_mode(const update::EnvironmentBody& environment) {
  os::Permissions permissions;
  find_owner(environment.owner, permissions);
  if (environment.mode != 0) permissions.mode = environment.mode & 0777;
  return permissions;
}

Result<> Copies::make_directory(const std::string& path, bool subdirectory) const {
  const std::string directory = data_directory(path, subdirectory);
  os::Permissions inside = group_.permissions();
  inside.mode |= 0700 | (inside.mode & 0444) >> 2;  // whoever may read may enter
  HOTBACKUP_TRY(os::make_directories(directory, inside));
  const std::string link = directory + kLinkName;
  struct stat status {};
  if (::lstat(link.c_str(), &status) != 0) return {};
  struct stat mine {};
  struct stat there {};
  if (::stat(link.c_str(), &there) == 0 && ::stat(group_.directory().c_str(), &mine) == 0 &&
      (there.st_dev != mine.st_dev || there.st_ino != mine.st_ino))
    return fail(ErrorCode::kRefused, directory + " belongs to another group: see " + link);
  return {};
}

Result<> Copies::create_file(const update::EnvironmentBody& environment, const std::string& path,
                             bool subdirectory) const {
  return create_environment_file(path, subdirectory, environment.map_bytes,
                                 permissions_for(environment));
}

Result<> create_environment_file(const std::string& path, bool subdirectory,
                                 std::uint64_t map_bytes, const os::Permissions& permissions) {
  lmdb::OpenOptions options;
  options.path = path;
  options.subdirectory = subdirectory;
  options.map_bytes = std::max<std::uint64_t>(map_bytes, 1 << 20);
  options.mode = permissions.mode;
  {
    HOTBACKUP_ASSIGN(auto made, lmdb::Environment::open(options));
    HOTBACKUP_TRY(made.sync());
  }
  os::give(lmdb::data_file(path, subdirectory), permissions);
  os::give(lmdb::lock_file(path, subdirectory), permissions);
  return {};
}

Result<> Copies::link_and_register(const update::EnvironmentBody& environment,
                                   const std::string& path) {
  HOTBACKUP_ASSIGN(const auto directory, canonical(data_directory(path, environment.subdirectory)));
  HOTBACKUP_ASSIGN(const auto home, canonical(group_.directory()));
  const std::string link = directory + kLinkName;
  if (::symlink(home.c_str(), link.c_str()) != 0 && errno != EEXIST)
    return fail_errno("making the link " + link);
  control::EnvironmentRecord record;
  record.number = environment.number;
  record.name = environment.name;
  record.configured = environment.configured;
  record.match = environment.match;
  record.subdirectory = environment.subdirectory;
  record.path =
      environment.subdirectory ? directory : directory + "/" + path.substr(path.rfind('/') + 1);
  HOTBACKUP_ASSIGN(const auto* entry, group_.add_environment(record));
  if (entry == nullptr || environment.name != entry->name)
    return fail(ErrorCode::kDiverged, "environment " + std::to_string(environment.number.value) +
                                          " has another name here than on the master, " +
                                          environment.name);
  return {};
}

namespace {

/// An environment without items counts as absent: its named databases go as well. What is kept
/// local stays.
Result<> empty_whole(const std::string& path, bool subdirectory, update::KeepLocalRules rules) {
  HOTBACKUP_ASSIGN(auto copy, Copy::open(path, subdirectory));
  copy->handles().set_rules(std::move(rules));
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(copy->environment(), /*read_only=*/false));
  HOTBACKUP_TRY(copy->handles().clear_all(txn));
  return txn.commit();
}

}  // namespace

Result<> Copies::add(const update::EnvironmentBody& environment) {
  if (const auto* entry = group_.environment(environment.number)) {
    if (environment.name == entry->name) return {};
    return fail(ErrorCode::kDiverged, "environment " + environment.name +
                                          " of the master has the number of " + entry->name);
  }
  HOTBACKUP_ASSIGN(const auto path, local_path(environment));
  HOTBACKUP_TRY(make_directory(path, environment.subdirectory));
  HOTBACKUP_ASSIGN(auto rules, group_.keep_local(environment.configured));
  const auto holds = lmdb::has_items(path, environment.subdirectory, rules);
  if (!holds) return fail(Error(holds.error()).with_context("the place of a copy"));
  if (*holds)
    return fail(ErrorCode::kRefused, path + " holds items that are not from this group's master");
  if (missing_or_blank(lmdb::data_file(path, environment.subdirectory)))
    HOTBACKUP_TRY(create_file(environment, path, environment.subdirectory));
  else
    HOTBACKUP_TRY(empty_whole(path, environment.subdirectory, std::move(rules)));
  return link_and_register(environment, path);
}

Result<Copy*> Copies::open(EnvironmentNumber number) {
  auto* entry = group_.environment(number);
  if (entry == nullptr)
    return fail(ErrorCode::kNotFound,
                "the journal has not described environment " + std::to_string(number.value));
  HOTBACKUP_TRY(check_in_place(group_, *entry));
  const std::uint32_t ticket = group_.keep_local_ticket();
  const auto known = open_.find(number);
  if (known != open_.end() && known->second->rules_ticket == ticket) return known->second.get();
  HOTBACKUP_ASSIGN(auto rules, group_.keep_local(entry->configured));
  if (known == open_.end()) {
    HOTBACKUP_ASSIGN(auto copy, Copy::open(entry->path, entry->subdirectory != 0));
    if (doubtful_.contains(number)) {
      HOTBACKUP_TRY(copy->write_meta_again());
      doubtful_.erase(number);
    }
    note_copy_file(*entry, copy->environment().file_descriptor());
    open_.emplace(number, std::move(copy));
  }
  Copy& copy = *open_.at(number);
  copy.handles().set_rules(std::move(rules));
  copy.rules_ticket = ticket;
  return &copy;
}

Result<Copies::Begun> Copies::begin(EnvironmentNumber number, std::uint64_t room) {
  for (;;) {
    HOTBACKUP_ASSIGN(Copy * copy, open(number));
    if (room != 0) HOTBACKUP_TRY(copy->make_room(room));
    {
      auto txn = copy->begin();
      if (!txn && txn.error().os_error() != MDB_INCOMPATIBLE) return fail(std::move(txn).error());
      if (txn && copy->is_as_left(*txn)) return Begun{copy, std::move(*txn)};
    }
    unsynced_.insert(number);
    open_.erase(number);  // the next round's has opened no database yet
  }
}

void Copies::close_all() {
  open_.clear();
  unsynced_.clear();
}

void Copies::open_anew() {
  for (const auto& [number, copy] : open_) unsynced_.insert(number);
  open_.clear();
}

void Copies::close_after_failure() {
  open_anew();
  doubtful_.merge(unsynced_);
  unsynced_.clear();
}

Result<> Copies::look_after() {
  for (std::uint32_t n = 1; n <= group_.environment_count(); ++n) {
    auto* entry = group_.environment(EnvironmentNumber(n));
    if (entry == nullptr) continue;
    HOTBACKUP_ASSIGN(Copy * copy, open(EnvironmentNumber(n)));
    if (copy->handles().rules().empty()) {
      HOTBACKUP_TRY(note_foreign_write(group_, *entry, copy->environment().info().last_txnid));
    } else {  // programs may be committing keep-local data: not while LMDB's writer lock is held
      HOTBACKUP_ASSIGN(const auto begun, begin(EnvironmentNumber(n)));
      HOTBACKUP_TRY(note_foreign_write(group_, *entry, begun.txn.id().previous()));
    }
    group_.incidents().clear("HB-copy-replaced", entry->name);
  }
  return {};
}

Result<> Copies::sync() {
  for (const EnvironmentNumber number : unsynced_) HOTBACKUP_TRY(open(number));
  for (const auto& [number, copy] : open_) HOTBACKUP_TRY(copy->sync());
  unsynced_.clear();
  return {};
}

}  // namespace hotbackup::slave
