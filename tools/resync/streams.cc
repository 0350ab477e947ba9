// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/streams.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "common/os/file.h"
#include "common/os/unique_fd.h"
#include "tools/resync/filtered.h"

namespace hotbackup::resync {
namespace {

/// `sh -c command` with these as its input and output; its end is waited for.
class Filter {
 public:
  static Result<Filter> start(const std::string& command, int input, int output) {
    const pid_t pid = ::fork();
    if (pid < 0) return fail_errno("starting the filter");
    if (pid == 0) {
      ::signal(SIGPIPE, SIG_DFL);
      if (::dup2(input, 0) == 0 && ::dup2(output, 1) == 1)
        ::execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
      ::_exit(127);
    }
    return Filter(pid, command);
  }
  Filter(Filter&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), command_(std::move(other.command_)) {}
  Filter& operator=(Filter&&) = delete;
  ~Filter() { (void)wait(); }

  Result<> wait() {
    if (pid_ < 0) return {};
    int status = 0;
    pid_t got = 0;
    do {
      got = ::waitpid(std::exchange(pid_, pid_), &status, 0);
    } while (got < 0 && errno == EINTR);
    pid_ = -1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return fail(ErrorCode::kIo,
                "the filter failed: " + command_ + " (" +
                    (WIFEXITED(status) ? "exit " + std::to_string(WEXITSTATUS(status))
                                       : "signal " + std::to_string(WTERMSIG(status))) +
                    ")");
  }

 private:
  Filter(pid_t pid, std::string command) : pid_(pid), command_(std::move(command)) {}
  pid_t pid_;
  std::string command_;
};

struct PipeEnds {
  os::UniqueFd read;
  os::UniqueFd write;
};
Result<PipeEnds> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail_errno("making a pipe");
  return PipeEnds{os::UniqueFd(fds[0]), os::UniqueFd(fds[1])};
}

Result<> go_on() {
  if (!stop_requested().load()) return {};
  return fail(ErrorCode::kCancelled, "ended by a signal");
}

Result<> write_all(int fd, std::string_view bytes, const std::string& name) {
  while (!bytes.empty()) {
    HOTBACKUP_TRY(go_on());
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("writing " + name);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

/// Written back all the while, so that the sync at the end is short and the cache stays others'.
constexpr std::uint64_t kWriteBackBytes = 8 << 20;

class FdSink : public Sink {
 public:
  FdSink(os::UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  ~FdSink() override {
    input_.reset();  // the filter sees its end before it is waited for
    filter_.reset();
  }

  Result<> through(const std::string& command) {
    if (command.empty() || command == "off") return {};
    HOTBACKUP_ASSIGN(auto ends, make_pipe());
    HOTBACKUP_ASSIGN(auto filter, Filter::start(command, ends.read.get(), fd_.get()));
    filter_.emplace(std::move(filter));
    filtered_ = true;
    input_ = std::move(ends.write);
    return {};
  }
  Result<> write(std::string_view bytes) override {
    HOTBACKUP_TRY(write_all(filter_ ? input_.get() : fd_.get(), bytes, name_));
    unsynced_ += bytes.size();
    if (!filter_ && unsynced_ >= kWriteBackBytes) {
      (void)::sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
      unsynced_ = 0;
    }
    return {};
  }
  Result<> finish() override {
    input_.reset();
    if (!filter_) return {};
    auto done = filter_->wait();
    filter_.reset();
    return done;
  }

 protected:
  bool filtered() const { return filtered_; }

  os::UniqueFd fd_;
  const std::string name_;

 private:
  std::optional<Filter> filter_;
  bool filtered_ = false;
  os::UniqueFd input_;
  std::uint64_t unsynced_ = 0;
};

class FileSink final : public FdSink {
 public:
  FileSink(os::UniqueFd fd, std::string path)
      : FdSink(std::move(fd), path + kPartSuffix), path_(std::move(path)) {}
  ~FileSink() override {
    if (!finished_) ::unlink(name_.c_str());
  }
  void describe(const Json& head, const Json& end) override {
    head_ = head;
    end_ = end;
  }
  Result<> finish() override {
    HOTBACKUP_TRY(FdSink::finish());
    if (::fsync(fd_.get()) != 0) return fail_errno("syncing " + name_);
    // Before the file has its name: without its description it would be of no use.
    if (filtered() && head_.is_object()) HOTBACKUP_TRY(write_info(path_, name_, head_, end_));
    if (::renameat2(AT_FDCWD, name_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) != 0) {
      if (errno == EEXIST) return fail(ErrorCode::kRefused, path_ + " is there already");
      if (errno != EINVAL && errno != ENOSYS) return fail_errno("naming " + path_);
      if (::access(path_.c_str(), F_OK) == 0)
        return fail(ErrorCode::kRefused, path_ + " is there already");
      if (::rename(name_.c_str(), path_.c_str()) != 0) return fail_errno("naming " + path_);
    }
    finished_ = true;
    const std::string parent = std::filesystem::path(path_).parent_path();
    HOTBACKUP_ASSIGN(auto directory, os::open_directory(parent.empty() ? "." : parent, {}));
    return directory->sync();
  }

 private:
  const std::string path_;
  Json head_;
  Json end_;
  bool finished_ = false;
};

class FdSource final : public Source {
 public:
  FdSource(os::UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}

  Result<> through(const std::string& command) {
    if (command.empty() || command == "off") return {};
    HOTBACKUP_ASSIGN(auto ends, make_pipe());
    HOTBACKUP_ASSIGN(auto filter, Filter::start(command, fd_.get(), ends.write.get()));
    filter_.emplace(std::move(filter));
    fd_ = std::move(ends.read);
    return {};
  }
  ~FdSource() override { fd_.reset(); }

  // Blocks' headers are small: one system call for many of them.
  Result<std::size_t> read(char* to, std::size_t size) override {
    std::size_t done = 0;
    while (done < size) {
      if (at_ == buffer_.size()) {
        HOTBACKUP_ASSIGN(const bool more, fill());
        if (!more) break;
      }
      const std::size_t part = std::min(size - done, buffer_.size() - at_);
      std::copy_n(buffer_.data() + at_, part, to + done);
      done += part;
      at_ += part;
    }
    return done;
  }

 private:
  Result<bool> fill() {
    HOTBACKUP_TRY(go_on());
    buffer_.resize(1 << 20);
    at_ = 0;
    ssize_t n = 0;
    do {
      n = ::read(fd_.get(), buffer_.data(), buffer_.size());
    } while (n < 0 && errno == EINTR);
    const int error = errno;
    buffer_.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    if (n < 0) return fail_errno("reading " + name_, error);
    if (n == 0 && filter_) {
      auto done = filter_->wait();
      filter_.reset();
      if (!done) return fail(std::move(done).error());
    }
    return n > 0;
  }

  os::UniqueFd fd_;
  const std::string name_;
  std::optional<Filter> filter_;
  std::string buffer_;
  std::size_t at_ = 0;
};

}  // namespace

Result<std::unique_ptr<Sink>> make_file_sink(const std::string& path, const std::string& filter) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0)
    return fail(ErrorCode::kRefused, path + " is there already: nothing is written over it");
  const std::string part = path + kPartSuffix;
  os::UniqueFd fd(::open(part.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_errno("making " + part);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::kBusy, part + " is being written by another process");
  if (::ftruncate(fd.get(), 0) != 0) return fail_errno("emptying " + part);
  auto sink = std::make_unique<FileSink>(std::move(fd), path);
  HOTBACKUP_TRY(sink->through(filter));
  return sink;
}

Result<std::unique_ptr<Sink>> open_stream_sink(const std::string& path, const std::string& filter) {
  os::UniqueFd fd(path == "-" ? ::fcntl(1, F_DUPFD_CLOEXEC, 3)
                              : ::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return fail_errno("opening " + path);
  auto sink = std::make_unique<FdSink>(std::move(fd), path == "-" ? "standard output" : path);
  HOTBACKUP_TRY(sink->through(filter));
  return sink;
}

Result<std::unique_ptr<Source>> open_source(const std::string& path, const std::string& filter) {
  os::UniqueFd fd(path == "-" ? ::fcntl(0, F_DUPFD_CLOEXEC, 3)
                              : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno("opening " + path);
  (void)::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  auto source = std::make_unique<FdSource>(std::move(fd), path == "-" ? "standard input" : path);
  HOTBACKUP_TRY(source->through(filter));
  return source;
}

std::atomic<bool>& stop_requested() {
  static std::atomic<bool> requested{false};
  return requested;
}

std::vector<std::string> interrupted_in(const std::string& directory) {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    const std::string path = entry.path();
    if (!path.ends_with(kPartSuffix)) continue;
    const os::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) found.push_back(path);
  }
  std::sort(found.begin(), found.end());
  return found;
}

Result<Destination> destination(const std::string& into) {
  if (into == "-") return Destination{Destination::Kind::kStream, into};
  struct stat status {};
  if (::stat(into.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return Destination{Destination::Kind::kDirectory, into};
    if (S_ISREG(status.st_mode))
      return fail(ErrorCode::kRefused, into + " is there already: nothing is written over it");
    return Destination{Destination::Kind::kStream, into};
  }
  const std::string last = std::filesystem::path(into).filename();
  if (!last.empty() && last.find('.') != std::string::npos)
    return Destination{Destination::Kind::kFile, into};
  HOTBACKUP_TRY(
      os::make_directories(std::filesystem::path(into).lexically_normal(), {.mode = 0750}));
  return Destination{Destination::Kind::kDirectory, into};
}

}  // namespace hotbackup::resync
