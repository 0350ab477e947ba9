// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "common/base/bytes.h"
#include "common/control/group.h"
#include "common/lmdb/environment.h"
#include "common/os/unique_fd.h"
#include "tools/hotbackup/capture_link.h"

namespace hotbackup::cli {
namespace {

namespace fs = std::filesystem;

// Start of a data file: page header, then MDB_meta of LMDB 0.9.
constexpr std::size_t kMetaOffset = 16;
constexpr std::uint32_t kDataMagic = 0xBEEFC0DE;
constexpr std::uint32_t kDataVersion = 1;

/// Checks that a regular file is an LMDB environment of a version that is known, or empty.
Result<bool> check_data_file(const std::string& path) {
  const os::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail_errno("cannot read " + path);
  char head[kMetaOffset + 8];
  const ssize_t got = ::pread(fd.get(), head, sizeof head, 0);
  if (got < 0) return fail_errno("cannot read " + path);
  if (got == 0) return false;
  if (got < static_cast<ssize_t>(sizeof head) ||
      load_le<std::uint32_t>(head + kMetaOffset) != kDataMagic)
    return fail(ErrorCode::kCorrupt, path + " is no LMDB environment: correct the path");
  const auto version = load_le<std::uint32_t>(head + kMetaOffset + 4);
  if (version != kDataVersion)
    return fail(ErrorCode::kVersion, path + " has LMDB data version " + std::to_string(version) +
                                         "; only version 1 (LMDB 0.9) is known");
  return true;
}

/// The environment at a path that exists. A directory without data is one that a program will fill.
Result<EnvironmentOnDisk> examine(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return fail_errno("cannot look at " + path);
  EnvironmentOnDisk found;
  found.path = path;
  if (S_ISREG(status.st_mode)) {
    HOTBACKUP_ASSIGN(found.has_data, check_data_file(path));
    return found;
  }
  if (::stat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
    return fail(ErrorCode::kRefused, path +
                                         " is neither a directory nor a regular file: name the "
                                         "environment itself, not a link to it");
  found.subdirectory = true;
  std::error_code failed;
  found.path = fs::canonical(path, failed);
  if (failed) return fail_errno("cannot look at " + path, failed.value());
  if (::stat(found.data_file().c_str(), &status) != 0) {
    if (errno == ENOENT) return found;
    return fail_errno("cannot look at " + found.data_file());
  }
  if (!S_ISREG(status.st_mode))
    return fail(ErrorCode::kRefused, found.data_file() + " is not a regular file");
  HOTBACKUP_ASSIGN(found.has_data, check_data_file(found.data_file()));
  return found;
}

/// Files and directories with data that match; what else matches is noted.
Result<> look_for_matches(const std::string& directory, ConfiguredPlace& place) {
  std::error_code failed;
  std::vector<std::string> paths;
  for (fs::directory_iterator entry(directory, failed), end; !failed && entry != end;
       entry.increment(failed))
    if (entry->path().filename() != kCaptureLinkName &&
        control::match_pattern(place.pattern, entry->path().native()))
      paths.push_back(entry->path());
  if (failed) return fail_errno("cannot list " + directory, failed.value());
  std::sort(paths.begin(), paths.end());  // names are given in this order
  for (const std::string& path : paths) {
    auto found = examine(path);
    if (!found && found.error().code() == ErrorCode::kIo) return fail(std::move(found).error());
    if (!found) {
      place.notes.push_back("left out: " + found.error().text());
    } else if (found->subdirectory && !found->has_data) {
      place.notes.push_back("left out until it has data: " + path);
    } else {
      place.existing.push_back(std::move(*found));
    }
  }
  return {};
}

}  // namespace

Result<ConfiguredPlace> look_at(const config::Environment& environment) {
  ConfiguredPlace place;
  place.name = environment.name;
  const fs::path path = environment.path;
  std::error_code failed;
  const std::string directory = fs::canonical(path.parent_path(), failed);
  if (failed)
    return fail(
        failed == std::errc::no_such_file_or_directory ? ErrorCode::kNotFound : ErrorCode::kIo,
        "environment " + environment.name + ": cannot look at directory " +
            path.parent_path().string() + " (" + failed.message() +
            "): make it, or correct the path",
        failed.value());
  place.pattern = (fs::path(directory) / path.filename()).native();
  if (!environment.is_pattern()) {
    struct stat status {};
    if (::lstat(place.pattern.c_str(), &status) != 0) {
      if (errno != ENOENT) return fail_errno("cannot look at " + place.pattern);
      place.link_directories.push_back(directory);
      return place;
    }
    HOTBACKUP_ASSIGN(auto found, examine(place.pattern));
    if (found.subdirectory) place.pattern = found.path;
    place.link_directories.push_back(found.subdirectory ? found.path : directory);
    place.existing.push_back(std::move(found));
    return place;
  }
  place.link_directories.push_back(directory);
  HOTBACKUP_TRY(look_for_matches(directory, place));
  for (const EnvironmentOnDisk& found : place.existing)
    if (found.subdirectory) place.link_directories.push_back(found.path);
  return place;
}

LockFileKeeper::LockFileKeeper(const std::string& path, bool subdirectory)
    : lock_file_(lmdb::lock_file(path, subdirectory)),
      data_file_(lmdb::data_file(path, subdirectory)),
      was_there_(::access(lock_file_.c_str(), F_OK) == 0) {}

LockFileKeeper::~LockFileKeeper() {
  struct stat status {};
  if (was_there_ || ::stat(data_file_.c_str(), &status) != 0) return;
  if (::chown(lock_file_.c_str(), status.st_uid, status.st_gid) != 0 ||
      ::chmod(lock_file_.c_str(), status.st_mode & 0777) != 0)
    errno = 0;  // not ours to change, and then it was made as its user makes it
}

Result<bool> has_items(const EnvironmentOnDisk& environment, const update::KeepLocalRules& rules) {
  if (!environment.has_data) return false;
  const LockFileKeeper keeper(environment.path, environment.subdirectory);
  auto found = lmdb::has_items(environment.path, environment.subdirectory, rules);
  if (!found) return fail(std::move(found).error().with_context(environment.path));
  return found;
}

}  // namespace hotbackup::cli
