// SPDX-License-Identifier: Apache-2.0
// Opening: who is captured, with which flags underneath, and whose the new files are.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "common/recovery/environment_recovery.h"
#include "master/capture/codes.h"
#include "master/capture/environment.h"
#include "master/capture/flags.h"
#include "master/capture/real_lmdb.h"

namespace hotbackup::capture {
namespace {

bool exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

/// Files that opening made get the group's owner and mode as far as this process may do that: a
/// daemon and its tools often run as different users. Nothing is opened for it, since closing a
/// lock file drops the locks that LMDB holds on it.
void give_to_group(const std::string& path, const os::Permissions& permissions) {
  constexpr auto kUnset = static_cast<std::uint32_t>(-1);
  if (permissions.uid != kUnset || permissions.gid != kUnset)
    (void)!::lchown(path.c_str(), permissions.uid, permissions.gid);
  if (permissions.mode != kUnset)
    (void)!::fchmodat(AT_FDCWD, path.c_str(), permissions.mode, AT_SYMLINK_NOFOLLOW);
}

/// Whether this process can take part in locking. Asked, not tried: see above.
bool can_lock(const Membership& member) {
  const std::string lock = member.lock_file();
  if (exists(lock)) return ::faccessat(AT_FDCWD, lock.c_str(), R_OK | W_OK, AT_EACCESS) == 0;
  const std::string directory = lock.substr(0, lock.rfind('/') + 1);
  return ::faccessat(AT_FDCWD, directory.c_str(), W_OK | X_OK, AT_EACCESS) == 0;
}

/// A reader that asked for no locks and cannot have any goes on without on a master, where it only
/// risks its own snapshot, as it chose. A copy changes by whole batches: there it is refused.
bool must_go_without_locks(const Membership& member, unsigned asked) {
  constexpr unsigned kLocklessReader = MDB_RDONLY | MDB_NOLOCK;
  return (asked & kLocklessReader) == kLocklessReader && !can_lock(member);
}

}  // namespace

int open_environment(MDB_env* env, const char* path, unsigned flags, mdb_mode_t mode) {
  unsigned asked = 0;
  real().env_get_flags(env, &asked);
  asked |= flags;
  const Membership member = find_membership(path, asked);
  if (member.kind == Membership::Kind::kNone) return real().env_open(env, path, flags, mode);

  // Readers too: what they see must not go back when the last update is replayed.
  if (member.entry != nullptr && member.entry->recovery_due.load() != 0)
    if (const auto level = recovery::recover(*member.group, *member.entry); !level)
      return code_of(level.error());

  unsigned underneath = flags_underneath(flags);
  if (must_go_without_locks(member, asked)) {
    if (member.group != nullptr && member.group->role() != control::Role::kMaster) return EACCES;
    underneath = flags;
  }
  auto environment = std::make_unique<Environment>(env, member, asked);
  const bool had_data = exists(member.data_file());
  const bool had_lock = exists(member.lock_file());
  if (const int rc = real().env_open(env, path, underneath, mode); rc != 0) return rc;
  if (member.group != nullptr) {
    const os::Permissions permissions = member.group->permissions();
    if (!had_data) give_to_group(member.data_file(), permissions);
    if (!had_lock && exists(member.lock_file())) give_to_group(member.lock_file(), permissions);
  }
  if (!register_environment(env, environment.get())) return ENOMEM;
  environment.release();
  return 0;
}

}  // namespace hotbackup::capture
