// SPDX-License-Identifier: Apache-2.0
// A copy's map and the disk blocks behind it.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "common/os/size_lock.h"
#include "common/os/unique_fd.h"
#include "slave/copies.h"

namespace hotbackup::slave {
namespace {

constexpr std::uint64_t kRoomMin = 256 << 10;
constexpr std::uint64_t kRoomKept = 16 << 20;  // by give_back
constexpr std::uint64_t kStep = 64 << 10;      // a multiple of every page size

/// Reserving blocks can be cut short by a signal and then begins anew: a ResidentLimit's would
/// never let a long one finish.
int reserve(int fd, std::uint64_t bytes) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  int result = 0;
  do {
    result = ::fallocate(fd, 0, 0, static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return result == 0 ? 0 : error;
}

std::uint64_t round_up(std::uint64_t bytes) {
  return (bytes + kStep - 1) / kStep * kStep;
}

}  // namespace

// liblmdb sets the file's size to that of a writable map, also downwards: so the map never begins
// smaller than the file, of which another process may have mapped all.
Result<std::unique_ptr<Copy>> Copy::open(const std::string& path, bool subdirectory) {
  struct stat status {};
  const std::string file = lmdb::data_file(path, subdirectory);
  const os::UniqueFd fd(::open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return fail_errno("opening the copy " + file);
  std::optional<os::SizeLock> lock(std::in_place, fd.get());
  if (::fstat(fd.get(), &status) != 0) return fail_errno("opening the copy " + file);
  if (status.st_size == 0) return fail(ErrorCode::kNotFound, "the copy " + file + " is empty");
  lmdb::OpenOptions options;
  options.path = path;
  options.subdirectory = subdirectory;
  options.write_map = true;
  options.no_meta_sync = true;
  options.map_bytes = round_up(static_cast<std::uint64_t>(status.st_size));
  HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
  lock.reset();
  environment.clear_dead_readers();
  std::unique_ptr<Copy> copy(new Copy(std::move(environment)));
  HOTBACKUP_TRY(copy->make_room(kRoomMin));
  return copy;
}

std::uint64_t Copy::room() const {
  const auto info = environment_.info();
  return info.map_bytes > info.used_bytes ? info.map_bytes - info.used_bytes : 0;
}

Result<> Copy::make_room(std::uint64_t bytes) {
  const auto info = environment_.info();
  const std::uint64_t wanted = round_up(info.used_bytes + bytes);
  if (const int error = reserve(environment_.file_descriptor(), wanted); error != 0)
    return fail_errno("reserving " + human_bytes(bytes) + " in the copy " + path(), error);
  if (wanted <= info.map_bytes) return {};
  // A program that commits its keep-local data may have made the file longer than our map.
  const os::SizeLock lock(environment_.file_descriptor());
  struct stat status {};
  if (::fstat(environment_.file_descriptor(), &status) != 0)
    return fail_errno("looking at " + path());
  return environment_.set_map_bytes(
      std::max(wanted, round_up(static_cast<std::uint64_t>(status.st_size))));
}

Result<lmdb::Transaction> Copy::begin() {
  auto txn = lmdb::Transaction::begin(environment_, /*read_only=*/false);
  if (txn || txn.error().os_error() != MDB_MAP_RESIZED) return txn;
  HOTBACKUP_TRY(grow());
  return lmdb::Transaction::begin(environment_, /*read_only=*/false);
}

bool Copy::is_as_left(const lmdb::Transaction& txn) {
  const TxnId last = txn.id().previous();
  if (!left_at_) left_at_ = last;
  return *left_at_ == last;
}

Result<> Copy::grow() {
  environment_.clear_dead_readers();
  const auto info = environment_.info();
  return make_room(std::max({2 * room(), info.used_bytes / 4, 4 * kRoomMin}));
}

Result<> Copy::sync() {
  if (!unsynced_) return {};
  HOTBACKUP_TRY(environment_.sync());
  unsynced_ = false;
  return {};
}

// As the writer, so that nobody changes them meanwhile. Each commit leaves the last meta page to
// the sync of the next one: where that failed, the disk may have an older state, whose pages the
// commit after it is free to write over.
Result<> Copy::write_meta_again() {
  HOTBACKUP_ASSIGN(auto writer, lmdb::Transaction::begin(environment_, /*read_only=*/false));
  std::string pages(2 * environment_.info().page_bytes, '\0');
  const int fd = environment_.file_descriptor();
  const auto whole = static_cast<ssize_t>(pages.size());
  if (::pread(fd, pages.data(), pages.size(), 0) != whole ||
      ::pwrite(fd, pages.data(), pages.size(), 0) != whole)
    return fail_errno("writing the first pages of " + path());
  return environment_.sync();
}

Result<> Copy::give_back() {
  if (!handles_.rules().empty()) return {};  // programs write here too, behind our map's end
  const auto info = environment_.info();
  struct stat status {};
  if (::fstat(environment_.file_descriptor(), &status) != 0)
    return fail_errno("looking at " + path());
  const std::uint64_t kept = round_up(info.used_bytes + kRoomKept);
  // A file of another size than our map: another process with a writable map is here.
  if (info.map_bytes < kept + info.used_bytes / 2 ||
      static_cast<std::uint64_t>(status.st_size) != info.map_bytes)
    return {};
  return environment_.set_map_bytes(kept);
}

}  // namespace hotbackup::slave
