// SPDX-License-Identifier: Apache-2.0
#include "common/recovery/baseline.h"

#include <pwd.h>
#include <sys/stat.h>

namespace hotbackup::recovery {
namespace {

std::string owner_name(uid_t uid) {
  struct passwd entry {};
  struct passwd* found = nullptr;
  char buffer[4096];
  if (::getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr)
    return found->pw_name;
  return std::to_string(uid);
}

}  // namespace

Description describe(const control::EnvironmentEntry& entry, MDB_env* env) {
  Description description;
  update::EnvironmentBody& body = description.body;
  body.number = EnvironmentNumber(entry.number);
  body.name = entry.name;
  body.configured = entry.configured;
  body.match = entry.match;
  body.subdirectory = entry.subdirectory != 0;
  MDB_envinfo info{};
  mdb_env_info(env, &info);
  body.map_bytes = info.me_mapsize;
  mdb_filehandle_t fd = -1;
  struct stat status {};
  if (mdb_env_get_fd(env, &fd) == 0 && ::fstat(fd, &status) == 0) {
    body.mode = status.st_mode & 07777;
    body.owner = owner_name(status.st_uid);
    description.inode = status.st_ino;
  }
  return description;
}

Result<> append_baseline(control::Group& group, control::EnvironmentEntry& entry,
                         os::SharedLock& lock, const Description& environment, TxnId at) {
  journal::FrameHeader fields;
  fields.epoch = group.epoch();
  fields.environment = EnvironmentNumber(entry.number);
  fields.txnid = at;
  fields.commit_time = wall_now();
  journal::Journal& journal = group.journal();
  HOTBACKUP_TRY(journal.append_control(lock, journal::FrameKind::kEnvironment,
                                       update::write_environment(environment.body), fields));
  const std::string baseline =
      update::write_baseline({NodeId(group.layout().node), EnvironmentNumber(entry.number), at});
  HOTBACKUP_TRY(journal.append_control(lock, journal::FrameKind::kBaseline, baseline, fields));
  entry.last_txnid.store(at.value);
  entry.inode.store(environment.inode);
  entry.baselined.store(1);
  return {};
}

}  // namespace hotbackup::recovery
