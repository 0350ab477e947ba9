// SPDX-License-Identifier: Apache-2.0
// A group in a temporary directory, the environments in it, what its journal says, and copies made
// from the journal alone.
#pragma once

#include <lmdb.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/control/group.h"
#include "common/journal/reader.h"
#include "common/lmdb/apply_operation.h"
#include "tests/support/temporary_directory.h"

namespace hotbackup::test {

/// <temporary>/group is the group; everything <temporary>/data/env* belongs to it: files by the
/// link in data/, directories by a link of their own.
class GroupFixture {
 public:
  explicit GroupFixture(control::Role role = control::Role::kMaster,
                        std::uint64_t segment_bytes = 4 << 20,
                        const std::string& journal_directory = {});

  control::Group& group() { return *group_; }
  std::string group_path() const { return temporary_.path() + "/group"; }
  std::string data() const { return temporary_.path() + "/data"; }
  const std::string& path() const { return temporary_.path(); }
  /// Makes the directory with its link and returns its path.
  std::string environment_directory(const std::string& name);
  void set_role(control::Role role);
  /// Keep-local rules of all environments, as `hotbackup init` run again puts them.
  void keep_local(const std::vector<std::string>& rules);

  struct Update {
    UpdateNumber number;
    EnvironmentNumber environment;
    journal::FrameKind kind;
    TxnId txnid;
    bool is_void = false;
    bool kept_local = false;
    std::vector<std::string> operations;  // "put users alice=1"
  };
  /// The whole journal.
  std::vector<Update> updates();
  /// Operations of the newest update, which must not be void.
  std::vector<std::string> last_operations();

 private:
  TemporaryDirectory temporary_;
  std::unique_ptr<control::Group> group_;
};

/// "" is the main database; records of named databases in it are left out.
struct DatabaseContent {
  unsigned flags = 0;
  std::set<std::pair<std::string, std::string>> items;
  bool operator==(const DatabaseContent&) const = default;
};
using Content = std::map<std::string, DatabaseContent>;

/// All that an environment holds. A difference is described by explain(), empty when equal.
Content content_of(MDB_env* env);
std::string explain(const Content& a, const Content& b);

/// Made by replaying the journal's updates of one environment, voids left out.
class Copy {
 public:
  Copy(GroupFixture& fixture, EnvironmentNumber environment, const std::string& path);
  /// Keep-local rules of the copy, and its environment for items of its own.
  void keep_local(const update::KeepLocalRules& rules) { handles_.set_rules(rules); }
  lmdb::Environment& environment() { return environment_; }
  /// Goes on from where the last call ended.
  void replay();
  Content content() { return content_of(environment_.get()); }

 private:
  GroupFixture& fixture_;
  const EnvironmentNumber number_;
  lmdb::Environment environment_;
  lmdb::DatabaseHandles handles_;
  UpdateNumber next_{1};
};

/// Opens for tests: 256 MiB map, 32 databases.
MDB_env* open_env(const std::string& path, unsigned flags = 0);

inline MDB_val val(std::string_view bytes) {
  return {bytes.size(), const_cast<char*>(bytes.data())};
}
inline std::string text(const MDB_val& value) {
  return {static_cast<const char*>(value.mv_data), value.mv_size};
}

using Variables = std::vector<std::pair<std::string, std::string>>;
pid_t start_program(const std::vector<std::string>& arguments, const Variables& variables = {});
/// Waits for its end and gives its exit code, or -signal.
int wait_for_end(pid_t pid);
inline int run_program(const std::vector<std::string>& arguments, const Variables& variables = {}) {
  return wait_for_end(start_program(arguments, variables));
}
/// Path of a helper program built beside this test.
std::string helper(const std::string& name);

}  // namespace hotbackup::test
