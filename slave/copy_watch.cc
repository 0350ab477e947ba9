// SPDX-License-Identifier: Apache-2.0
#include "slave/copy_watch.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "common/base/bytes.h"
#include "common/control/apply_decisions.h"
#include "common/lmdb/environment.h"

namespace hotbackup::slave {
namespace {

/// Inode and time of birth, because an inode's number is soon used again; 0 where there is no file.
/// `path` may be "" for the open file itself.
std::uint64_t identity(int directory, const char* path) {
  struct statx status {};
  if (::statx(directory, path, *path == '\0' ? AT_EMPTY_PATH : 0, STATX_INO | STATX_BTIME,
              &status) != 0)
    return 0;
  const bool born = (status.stx_mask & STATX_BTIME) != 0;
  const std::uint64_t facts[] = {status.stx_ino,
                                 born ? static_cast<std::uint64_t>(status.stx_btime.tv_sec) : 0,
                                 born ? status.stx_btime.tv_nsec : 0};
  return hash64({reinterpret_cast<const char*>(facts), sizeof facts}) | 1;
}

}  // namespace

Result<> note_foreign_write(control::Group& group, control::EnvironmentEntry& entry, TxnId last) {
  if (control::Group::accounts_for(entry, last)) return {};
  const std::string text = control::Group::describe_foreign_write(entry, last);
  group.incidents().raise("HB-copy-written", entry.name, text);
  HOTBACKUP_TRY(control::change_apply_decisions(group, [&](control::ApplyDecisions& decisions) {
    if (decisions.differs.empty()) decisions.differs = text;
  }));
  entry.last_txnid.store(last.value);
  return {};
}

Result<> check_in_place(control::Group& group, control::EnvironmentEntry& entry) {
  const std::string file = lmdb::data_file(entry.path, entry.subdirectory != 0);
  const std::uint64_t known = entry.file_identity.load();
  const std::uint64_t there = identity(AT_FDCWD, file.c_str());
  if (known == 0 || there == known) return {};
  const std::string text = (there == 0 ? "the copy " + file + " is gone"
                                       : "another file is in the place of the copy " + file) +
                           ": nothing is applied to this group";
  if (!group.incidents().find("HB-copy-replaced", entry.name))
    group.incidents().raise("HB-copy-replaced", entry.name, text);
  return fail(ErrorCode::kFenced, text);
}

void note_copy_file(control::EnvironmentEntry& entry, int file) {
  std::uint64_t unknown = 0;
  entry.file_identity.compare_exchange_strong(unknown, identity(file, ""));
}

}  // namespace hotbackup::slave
