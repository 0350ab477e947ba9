// SPDX-License-Identifier: Apache-2.0
// The slave's environments: where they lie, how they are made, and the open handles of this
// process.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "common/control/group.h"
#include "common/lmdb/apply_operation.h"
#include "common/lmdb/environment.h"
#include "common/update/codec.h"

namespace hotbackup::slave {

/// One open copy. Written through a writable map that covers the file exactly, with the blocks
/// ahead of the last page in use reserved: a full disk shows when room is made, never as a fault in
/// the middle of a write, and a transaction of any size needs next to no memory of its own.
class Copy {
 public:
  /// kNotFound when there is no data file: a copy that went away is not silently made anew.
  static Result<std::unique_ptr<Copy>> open(const std::string& path, bool subdirectory);

  lmdb::Environment& environment() { return environment_; }
  lmdb::DatabaseHandles& handles() { return handles_; }
  std::uint32_t rules_ticket = 0;  // of the keep-local rules that handles() knows
  const std::string& path() const { return environment_.path(); }

  /// A write transaction, also where a program has made the file longer than our map.
  Result<lmdb::Transaction> begin();
  /// Whether nobody else has committed since the first time this was asked.
  bool is_as_left(const lmdb::Transaction& txn);

  /// Bytes of the map behind the last page in use.
  std::uint64_t room() const;
  /// Makes room for at least this many bytes behind the last page in use. kNoSpace when the disk
  /// has none. No transaction may be open.
  Result<> make_room(std::uint64_t bytes);
  /// After MDB_MAP_FULL: makes clearly more room than there was.
  Result<> grow();
  /// Commits leave the meta page unsynced: note_commit after each that changed something, sync
  /// before a promise.
  void note_commit(TxnId id) {
    unsynced_ = true;
    left_at_ = id;
  }
  Result<> sync();
  /// After a failed sync: the meta pages, whose last state the disk may not have, are written and
  /// synced once more. All other pages in use were synced by the commits that made them.
  Result<> write_meta_again();
  /// Gives most of the room back to the disk when it is much; readers are not concerned.
  Result<> give_back();

 private:
  explicit Copy(lmdb::Environment environment) : environment_(std::move(environment)) {}
  lmdb::Environment environment_;
  lmdb::DatabaseHandles handles_;
  bool unsynced_ = true;  // by whoever had it open before
  std::optional<TxnId> left_at_;
};

/// Owns the open copies of a group. Shared by Applier and Seeder, which never run at the same time;
/// one thread at a time.
class Copies {
 public:
  /// Borrows the group.
  explicit Copies(control::Group& group) : group_(group) {}

  /// Where the copy of this environment belongs: the path configured for it here, else
  /// <group>/copies/<name>. kConfig where a pattern and a plain path cannot go together.
  Result<std::string> local_path(const update::EnvironmentBody& environment) const;

  /// Makes an environment of the master known here: its data file (with the master's map size,
  /// owner and mode), the capture link beside it, and the group's table. Does nothing for one that
  /// is known. kRefused when something else with items is in its place; keep-local items are this
  /// site's own and stay.
  Result<> add(const update::EnvironmentBody& environment);

  /// The open copy; kNotFound for a number that is not known, kFenced when the file that was
  /// written so far is no longer at its path.
  Result<Copy*> open(EnvironmentNumber number);
  /// The open copy and a write transaction in it, with `room` bytes reserved. Where somebody else
  /// has committed it is opened anew: liblmdb takes the databases for what they were when they were
  /// opened, and crashes where one was dropped, or the main one got other flags.
  struct Begun {
    Copy* copy;
    lmdb::Transaction txn;
  };
  Result<Begun> begin(EnvironmentNumber number, std::uint64_t room = 0);
  void close_all();
  /// Closes all without a loss: what is not synced yet is still synced by sync().
  void open_anew();
  /// After a write or sync failed in one of them: what LMDB keeps in memory is dropped, and each is
  /// opened anew with write_meta_again().
  void close_after_failure();
  /// Looks at every copy of the group: errors as of open(), and a write by somebody else is noted.
  /// No transaction of this process may be open.
  Result<> look_after();
  /// Makes everything committed in open copies durable.
  Result<> sync();

  /// Steps of add(), which the Seeder takes one by one. make_directory also checks that the
  /// directory is not captured by another group. create_file: an environment without items.
  Result<> make_directory(const std::string& path, bool subdirectory) const;
  Result<> create_file(const update::EnvironmentBody& environment, const std::string& path,
                       bool subdirectory) const;
  Result<> link_and_register(const update::EnvironmentBody& environment, const std::string& path);

 private:
  os::Permissions permissions_for(const update::EnvironmentBody& environment) const;

  control::Group& group_;
  std::map<EnvironmentNumber, std::unique_ptr<Copy>> open_;
  std::set<EnvironmentNumber> doubtful_;  // to be opened with write_meta_again()
  std::set<EnvironmentNumber> unsynced_;  // closed since, perhaps
};

/// An environment without items in a new file.
Result<> create_environment_file(const std::string& path, bool subdirectory,
                                 std::uint64_t map_bytes, const os::Permissions& permissions);
/// Owner and mode of the master's; a name that is not known here counts as a number.
os::Permissions owner_and_mode(const update::EnvironmentBody& environment);
/// The directory that holds an environment's data file.
std::string data_directory(const std::string& path, bool subdirectory);

}  // namespace hotbackup::slave
