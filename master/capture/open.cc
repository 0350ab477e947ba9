// SPDX-License-Identifier: Apache-2.0
// Opening: who is captured, with which flags underneath, and whose the new files are.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "common/os/ownership.h"
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
    // Both by name: the lock file may not be opened and closed, as that drops LMDB's locks on it.
    if (!had_data) os::give(member.data_file(), permissions);
    if (!had_lock) os::give(member.lock_file(), permissions);
  }
  if (!register_environment(env, environment.get())) return ENOMEM;
  environment.release();
  return 0;
}

}  // namespace hotbackup::capture
