// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "common/os/file.h"
#include "common/os/ownership.h"
#include "common/os/unique_fd.h"

namespace hotbackup::os {
namespace {

class PosixFile final : public File {
 public:
  PosixFile(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}

  Result<std::size_t> read_at(std::uint64_t offset, char* to, std::size_t size) override {
    std::size_t done = 0;
    while (done < size) {
      const ssize_t n =
          ::pread(fd_.get(), to + done, size - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail_errno("reading " + name_);
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }

  Result<> write_at(std::uint64_t offset, std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail_errno("writing " + name_);
      offset += static_cast<std::uint64_t>(n);
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
  }

  Result<> sync_data() override {
    if (::fdatasync(fd_.get()) != 0) return fail_errno("syncing " + name_);
    return {};
  }

  Result<std::uint64_t> size() override {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) return fail_errno("looking at " + name_);
    return static_cast<std::uint64_t>(status.st_size);
  }

  Result<> allocate(std::uint64_t size, bool zeroed) override {
    const int error = ::posix_fallocate(fd_.get(), 0, static_cast<off_t>(size));
    if (error != 0) return fail_errno("making room in " + name_, error);
    if (!zeroed) return {};
    const std::string zeros(std::min<std::uint64_t>(size, 1 << 20), '\0');
    for (std::uint64_t at = 0; at < size; at += zeros.size())
      HOTBACKUP_TRY(write_at(at, std::string_view(zeros).substr(0, size - at)));
    return {};
  }

 private:
  const UniqueFd fd_;
  const std::string name_;
};

class PosixDirectory final : public Directory {
 public:
  PosixDirectory(UniqueFd fd, std::string path, const Permissions& permissions)
      : fd_(std::move(fd)), path_(std::move(path)), permissions_(permissions) {}

  Result<std::unique_ptr<File>> open(const std::string& name, bool writable) override {
    const int flags = (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC;
    UniqueFd fd(::openat(fd_.get(), name.c_str(), flags));
    if (!fd) return fail_errno("opening " + full(name));
    return std::make_unique<PosixFile>(std::move(fd), full(name));
  }

  Result<std::unique_ptr<File>> create(const std::string& name) override {
    const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    UniqueFd fd(::openat(fd_.get(), name.c_str(), flags, permissions_.mode & 0777));
    if (!fd) return fail_errno("creating " + full(name));
    give(fd.get(), permissions_);
    return std::make_unique<PosixFile>(std::move(fd), full(name));
  }

  Result<> rename(const std::string& from, const std::string& to) override {
    if (::renameat(fd_.get(), from.c_str(), fd_.get(), to.c_str()) != 0)
      return fail_errno("renaming " + full(from));
    return {};
  }

  Result<> remove(const std::string& name) override {
    if (::unlinkat(fd_.get(), name.c_str(), 0) != 0) return fail_errno("removing " + full(name));
    return {};
  }

  Result<std::vector<std::string>> list() override {
    const int fd = ::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_errno("listing " + path_);
    DIR* stream = ::fdopendir(fd);
    if (stream == nullptr) {
      const int error = errno;
      ::close(fd);
      return fail_errno("listing " + path_, error);
    }
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(stream)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    ::closedir(stream);
    return names;
  }

  Result<> sync() override {
    if (::fsync(fd_.get()) != 0) return fail_errno("syncing " + path_);
    return {};
  }

 private:
  std::string full(const std::string& name) const { return path_ + "/" + name; }

  const UniqueFd fd_;
  const std::string path_;
  const Permissions permissions_;
};

}  // namespace

Result<std::unique_ptr<Directory>> open_directory(const std::string& path,
                                                  const Permissions& permissions) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno("opening directory " + path);
  return std::make_unique<PosixDirectory>(std::move(fd), path, permissions);
}

Result<std::unique_ptr<Directory>> open_directory(int parent, const std::string& name,
                                                  const std::string& path,
                                                  const Permissions& permissions) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  UniqueFd fd(::openat(parent, name.c_str(), kFlags | O_NOFOLLOW));
  if (!fd && (errno == ELOOP || errno == ENOTDIR)) {
    struct stat own {};
    struct stat there {};
    fd.reset(::openat(parent, name.c_str(), kFlags));
    if (fd && (::fstat(parent, &own) != 0 || ::fstat(fd.get(), &there) != 0 ||
               own.st_uid != there.st_uid))
      return fail(ErrorCode::kRefused, path + " leads to a directory of somebody else");
  }
  if (!fd) return fail_errno("opening directory " + path);
  return std::make_unique<PosixDirectory>(std::move(fd), path, permissions);
}

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno("opening " + path);
  std::string content;
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("reading " + path);
    if (n == 0) return content;
    content.append(buffer, static_cast<std::size_t>(n));
    if (content.size() > bytes_max)
      return fail(ErrorCode::kCorrupt, path + " is larger than it may be");
  }
}

Result<> replace_file(Directory& directory, const std::string& name, std::string_view content) {
  const std::string temporary = name + ".new-" + std::to_string(::getpid());
  if (auto removed = directory.remove(temporary);
      !removed && removed.error().code() != ErrorCode::kNotFound)
    return removed;
  HOTBACKUP_ASSIGN(auto file, directory.create(temporary));
  HOTBACKUP_TRY(file->write_at(0, content));
  HOTBACKUP_TRY(file->sync_data());
  HOTBACKUP_TRY(directory.rename(temporary, name));
  return directory.sync();
}

Result<> replace_file(const std::string& path, std::string_view content,
                      const Permissions& permissions) {
  const std::size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  HOTBACKUP_ASSIGN(auto directory, open_directory(parent, permissions));
  return replace_file(*directory, slash == std::string::npos ? path : path.substr(slash + 1),
                      content);
}

Result<> make_directories(const std::string& path, const Permissions& permissions) {
  for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (!part.empty() && ::mkdir(part.c_str(), 0700) == 0) {
      const UniqueFd fd(::open(part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      Permissions inside = permissions;
      if (at != std::string::npos) inside.mode |= 0755;
      if (fd) give(fd.get(), inside);
    } else if (errno != EEXIST) {
      return fail_errno("making directory " + part);
    }
    if (at == std::string::npos) break;
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return fail_errno("looking at " + path);
  if (!S_ISDIR(status.st_mode)) return fail_errno(path, ENOTDIR);
  return {};
}

}  // namespace hotbackup::os
