// SPDX-License-Identifier: Apache-2.0
#include "slave/seed_target.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "common/lmdb/resident_limit.h"

namespace hotbackup::slave {
namespace {

constexpr std::uint64_t kChunkBytesMin = 256 << 10;
constexpr std::uint64_t kChunkBytesMax = 16 << 20;

/// Half-full pages, overflow pages and a page for each long run of duplicates: four times the bytes
/// of a chunk is more than LMDB can need for it.
constexpr std::uint64_t room_for(std::uint64_t bytes) {
  return 4 * bytes + (256 << 10);
}

Result<> sync_directory_of(const std::string& file) {
  HOTBACKUP_ASSIGN(auto directory, os::open_directory(data_directory(file, false), {}));
  return directory->sync();
}

bool exists(const std::string& file) {
  struct stat status {};
  return ::lstat(file.c_str(), &status) == 0;
}

/// Every item of `from`, in one transaction's view, through `applier` into `txn`.
Result<> copy_content(lmdb::Environment& from, lmdb::OperationApplier& applier,
                      lmdb::Transaction& txn) {
  HOTBACKUP_ASSIGN(auto view, lmdb::Transaction::begin(from, /*read_only=*/true));
  HOTBACKUP_ASSIGN(const auto all, lmdb::databases(view));
  for (const lmdb::DatabaseInfo& database : all) {
    update::Operation operation;
    operation.kind = update::OperationKind::kCreate;
    operation.database = {database.main, database.name, database.flags};
    HOTBACKUP_TRY(applier.apply(txn, operation));
    operation.kind = update::OperationKind::kPut;
    HOTBACKUP_ASSIGN(auto cursor, lmdb::Cursor::open(view, database.dbi));
    for (;;) {
      HOTBACKUP_ASSIGN(const auto item, cursor.next());
      if (!item) break;
      if (database.main && all.size() > 1) {
        HOTBACKUP_ASSIGN(const bool named, lmdb::is_named_database(view, database.flags, *item));
        if (named) continue;
      }
      operation.key = item->key;
      operation.value = item->value;
      HOTBACKUP_TRY(applier.apply(txn, operation));
    }
  }
  return {};
}

// The name cannot match a path pattern's beginning, so no program takes the file for one of its
// own.
std::string build_name(const update::EnvironmentBody& environment, const std::string& path) {
  return data_directory(path, environment.subdirectory) + "/.hotbackup-seed-" +
         std::to_string(environment.number.value);
}

}  // namespace

Result<std::unique_ptr<SeedTarget>> SeedTarget::make(const Copies& copies,
                                                     const update::EnvironmentBody& environment,
                                                     std::string path,
                                                     update::KeepLocalRules rules) {
  std::unique_ptr<SeedTarget> target(
      new SeedTarget(environment, path, build_name(environment, path), std::move(rules)));
  target->remove_build();
  HOTBACKUP_TRY(copies.create_file(environment, target->build_, /*subdirectory=*/false));
  return target;
}

Result<std::unique_ptr<SeedTarget>> SeedTarget::make(const os::Permissions& permissions,
                                                     const update::EnvironmentBody& environment,
                                                     std::string path,
                                                     update::KeepLocalRules rules) {
  std::unique_ptr<SeedTarget> target(
      new SeedTarget(environment, path, build_name(environment, path), std::move(rules)));
  target->remove_build();
  HOTBACKUP_TRY(create_environment_file(target->build_, /*subdirectory=*/false,
                                        environment.map_bytes, permissions));
  return target;
}

SeedTarget::~SeedTarget() {
  txn_.reset();
  copy_.reset();
  remove_build();
}

void SeedTarget::remove_build() {
  ::unlink(build_.c_str());
  ::unlink(lmdb::lock_file(build_, false).c_str());
}

Result<> SeedTarget::begin(std::uint64_t value_bytes) {
  if (!copy_) {
    HOTBACKUP_ASSIGN(copy_, Copy::open(build_, /*subdirectory=*/false));
    copy_->handles().set_rules(rules_);
    applier_.emplace(copy_->handles(), /*append=*/true);
  }
  // Chunks grow with the file, so that a small copy's map does not grow beyond its master's.
  chunk_bytes_max_ =
      std::clamp(copy_->environment().info().used_bytes / 4, kChunkBytesMin, kChunkBytesMax);
  const std::uint64_t wanted = room_for(chunk_bytes_max_) + value_bytes;
  if (copy_->room() < wanted) HOTBACKUP_TRY(copy_->make_room(wanted));
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(copy_->environment(), false));
  txn_.emplace(std::move(txn));
  chunk_bytes_ = 0;
  return {};
}

Result<> SeedTarget::commit() {
  const lmdb::ResidentLimit resident_limit;
  HOTBACKUP_TRY(txn_->commit());
  txn_.reset();
  return {};
}

Result<std::uint64_t> SeedTarget::write(std::string_view body) {
  std::uint64_t items = 0;
  if (!txn_) HOTBACKUP_TRY(begin(0));
  auto done = update::read_body(body, [&](const update::Operation& operation) -> Result<> {
    if (operation.kind == update::OperationKind::kPutLarge && !applier_->value_open()) {
      HOTBACKUP_TRY(commit());
      HOTBACKUP_TRY(begin(operation.value_bytes));
    }
    if (operation.kind == update::OperationKind::kPut ||
        operation.kind == update::OperationKind::kPutLarge)
      ++items;
    return applier_->apply(*txn_, operation);
  });
  if (!done) return fail(std::move(done).error());
  chunk_bytes_ += body.size();
  if (chunk_bytes_ >= chunk_bytes_max_ && !applier_->value_open()) HOTBACKUP_TRY(commit());
  return items;
}

Result<> SeedTarget::complete() {
  if (!copy_) return {};
  if (applier_->value_open())
    return fail(ErrorCode::kCorrupt, "a large value of the seed ends early");
  if (txn_) HOTBACKUP_TRY(commit());
  HOTBACKUP_TRY(copy_->give_back());
  HOTBACKUP_TRY(copy_->environment().sync());
  copy_.reset();
  return {};
}

Result<> SeedTarget::install(const Copies& copies) {
  return install(
      [&] { return copies.create_file(environment_, path_, environment_.subdirectory); });
}

Result<> SeedTarget::install(const os::Permissions& permissions) {
  return install([&] {
    return create_environment_file(path_, environment_.subdirectory, environment_.map_bytes,
                                   permissions);
  });
}

Result<> SeedTarget::install(const std::function<Result<>()>& create) {
  const std::string file = lmdb::data_file(path_, environment_.subdirectory);
  HOTBACKUP_ASSIGN(const bool moved, move_into_place());
  if (moved) return sync_directory_of(file);
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return fail_errno("looking at " + file);
  if (status.st_size == 0) HOTBACKUP_TRY(create());
  return copy_into_place();
}

/// False when there is a file already.
Result<bool> SeedTarget::move_into_place() {
  const std::string file = lmdb::data_file(path_, environment_.subdirectory);
  const std::string lock = lmdb::lock_file(path_, environment_.subdirectory);
  if (exists(file)) return false;
  // The lock file goes first: who comes in between finds no environment rather than one whose lock
  // file it would make with an owner of its own.
  if (!exists(lock) && ::rename(lmdb::lock_file(build_, false).c_str(), lock.c_str()) != 0)
    return fail_errno("putting " + lock + " in place");
  if (::renameat2(AT_FDCWD, build_.c_str(), AT_FDCWD, file.c_str(), RENAME_NOREPLACE) == 0)
    return true;
  if (errno == EEXIST) return false;
  if (errno != EINVAL && errno != ENOSYS) return fail_errno("putting " + file + " in place");
  if (::rename(build_.c_str(), file.c_str()) != 0)
    return fail_errno("putting " + file + " in place");
  return true;
}

Result<> SeedTarget::copy_into_place() {
  const lmdb::ResidentLimit resident_limit;
  lmdb::OpenOptions options;
  options.path = build_;
  options.subdirectory = false;
  options.read_only = true;
  HOTBACKUP_ASSIGN(auto from, lmdb::Environment::open(options));
  HOTBACKUP_ASSIGN(auto place, Copy::open(path_, environment_.subdirectory));
  place->handles().set_rules(rules_);
  HOTBACKUP_TRY(place->make_room(from.info().used_bytes + (4 << 20)));
  for (;;) {
    HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(place->environment(), false));
    lmdb::OperationApplier applier(place->handles(), /*append=*/true);
    auto done = place->handles().clear_all(txn);
    if (done) done = copy_content(from, applier, txn);
    if (done) done = txn.commit();
    if (done) return place->environment().sync();
    txn.abort();
    place->handles().forget();
    if (done.error().os_error() != MDB_MAP_FULL) return done;
    HOTBACKUP_TRY(place->grow());
  }
}

}  // namespace hotbackup::slave
