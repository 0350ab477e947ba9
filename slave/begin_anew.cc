// SPDX-License-Identifier: Apache-2.0
// Giving way to a seed without losing the only copy of anything.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "common/journal/reader.h"
#include "common/orphan/orphan_set.h"
#include "common/os/unique_fd.h"
#include "slave/applied_file.h"
#include "slave/rejoiner.h"
#include "slave/seeder.h"

namespace hotbackup::slave {
namespace {

/// The last update that this master is known to have of what is here.
Result<Position> known_there(control::Group& group, const std::string& master) {
  HOTBACKUP_ASSIGN(const auto oldest, journal::oldest_update(group.journal_directory()));
  const control::PeerEntry* peer = group.peer(master);
  const UpdateNumber acknowledged(peer == nullptr ? 0 : peer->journaled.load());
  const UpdateNumber number = std::clamp(acknowledged, oldest.previous(), group.made());
  return journal::position_at(group.journal_directory(), group.id(), number);
}

/// A whole copy of the environment, durable when it has its name.
Result<> copy_aside(Copy& copy, const std::string& path, bool subdirectory, mode_t mode) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) return {};  // by a run that was cut short
  const std::string unfinished = path + ".new";
  const std::string file = subdirectory ? unfinished + "/data.mdb" : unfinished;
  ::unlink(file.c_str());
  if (subdirectory && ::mkdir(unfinished.c_str(), 0700) != 0 && errno != EEXIST)
    return fail_errno("making " + unfinished);
  {
    const os::UniqueFd to(
        ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & 0777));
    if (!to) return fail_errno("making " + file);
    if (const int rc = mdb_env_copyfd2(copy.environment().get(), to.get(), MDB_CP_COMPACT); rc != 0)
      return lmdb::fail_lmdb("keeping " + path, rc);
    if (::fsync(to.get()) != 0) return fail_errno("keeping " + path);
  }
  if (::rename(unfinished.c_str(), path.c_str()) != 0) return fail_errno("keeping " + path);
  HOTBACKUP_ASSIGN(auto directory, os::open_directory(data_directory(path, false), {}));
  return directory->sync();
}

}  // namespace

// The marker says that the next seed may write over these environments; with it the journal begins
// at number 0.
Result<> begin_anew(control::Group& group, Copies& copies, const std::string& master) {
  HOTBACKUP_TRY(group.journal().sync_through(group.made()));
  HOTBACKUP_ASSIGN(const auto known, known_there(group, master));
  if (known.number < group.made()) {
    HOTBACKUP_TRY(orphan::write(group, known, master));
    HOTBACKUP_TRY(orphan::note_open(group));
  }
  std::vector<std::string> paths;
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n) {
    const auto* entry = group.environment(EnvironmentNumber(n));
    if (entry == nullptr) continue;
    auto copy = copies.open(EnvironmentNumber(n));
    if (!copy && copy.error().code() == ErrorCode::kNotFound) continue;
    if (!copy) return fail(std::move(copy).error());
    const std::string aside =
        std::string(entry->path) + ".replaced-at-" + std::to_string(group.made().value);
    HOTBACKUP_TRY(copy_aside(**copy, aside, entry->subdirectory != 0, group.permissions().mode));
    paths.emplace_back(entry->path);
  }
  copies.close_all();
  HOTBACKUP_TRY(remove_rejoin(group));
  HOTBACKUP_TRY(write_seeding(group, paths));
  return Seeder::discard_unfinished(group);
}

}  // namespace hotbackup::slave
