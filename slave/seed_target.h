// SPDX-License-Identifier: Apache-2.0
// One environment of a seed: built in a new file beside its place, then put there.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/lmdb/apply_operation.h"
#include "common/update/codec.h"
#include "slave/copies.h"

namespace hotbackup::slave {

/// Lives on the seeder's thread. The file is written in transactions of bounded size, since nobody
/// else sees it; destroyed, it is removed unless it was installed.
class SeedTarget {
 public:
  /// Makes the file; its directory is there. Removes one that a killed seed left.
  static Result<std::unique_ptr<SeedTarget>> make(const Copies& copies,
                                                  const update::EnvironmentBody& environment,
                                                  std::string path,
                                                  update::KeepLocalRules rules = {});
  /// For nobody's group: a restore.
  static Result<std::unique_ptr<SeedTarget>> make(const os::Permissions& permissions,
                                                  const update::EnvironmentBody& environment,
                                                  std::string path,
                                                  update::KeepLocalRules rules = {});
  ~SeedTarget();
  SeedTarget(const SeedTarget&) = delete;
  SeedTarget& operator=(const SeedTarget&) = delete;

  const update::EnvironmentBody& environment() const { return environment_; }
  const std::string& path() const { return path_; }

  /// Performs a part's operations; returns how many items it put.
  Result<std::uint64_t> write(std::string_view body);
  /// All parts are here: the file is complete and durable when it returns. kCorrupt when a large
  /// value ends early.
  Result<> complete();
  /// Puts the content in place, durably. A missing file is replaced by the new one; an existing one
  /// is filled through LMDB in one transaction, because running programs keep their file open; its
  /// keep-local items stay.
  Result<> install(const Copies& copies);
  Result<> install(const os::Permissions& permissions);
  /// The new data file, until it is installed: after complete() it may be written to.
  const std::string& build() const { return build_; }

 private:
  SeedTarget(update::EnvironmentBody environment, std::string path, std::string build,
             update::KeepLocalRules rules)
      : environment_(std::move(environment)),
        path_(std::move(path)),
        build_(std::move(build)),
        rules_(std::move(rules)) {}
  /// `value_bytes`: a large value that comes first, beyond the usual chunk.
  Result<> install(const std::function<Result<>()>& create);
  Result<> begin(std::uint64_t value_bytes);
  Result<> commit();
  Result<bool> move_into_place();
  Result<> copy_into_place();
  void remove_build();

  const update::EnvironmentBody environment_;
  const std::string path_;   // of the environment
  const std::string build_;  // of the new data file
  const update::KeepLocalRules rules_;
  std::unique_ptr<Copy> copy_;
  std::optional<lmdb::OperationApplier> applier_;
  std::optional<lmdb::Transaction> txn_;
  std::uint64_t chunk_bytes_ = 0;
  std::uint64_t chunk_bytes_max_ = 0;
};

}  // namespace hotbackup::slave
