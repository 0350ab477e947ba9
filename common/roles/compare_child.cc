// SPDX-License-Identifier: Apache-2.0
#include "common/roles/compare_child.h"

#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <csignal>
#include <filesystem>

#include "common/base/bytes.h"
#include "common/os/unique_fd.h"
#include "common/wire/message.h"

namespace hotbackup::roles {
namespace {

constexpr std::chrono::milliseconds kAnswerLimit{120'000};

Result<> read_exactly(int fd, char* to, std::size_t size, std::chrono::milliseconds limit) {
  while (size != 0) {
    pollfd ready{fd, POLLIN, 0};
    const int found = ::poll(&ready, 1, static_cast<int>(limit.count()));
    if (found < 0 && errno == EINTR) continue;
    if (found == 0) return fail(ErrorCode::kTimeout, "the comparison is silent");
    const ssize_t got = found < 0 ? -1 : ::read(fd, to, size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("reading of a comparison");
    if (got == 0) return fail(ErrorCode::kDisconnected, "the comparison has ended");
    to += got;
    size -= static_cast<std::size_t>(got);
  }
  return {};
}

}  // namespace

Result<> write_block(int fd, const std::string& bytes) {
  std::string all(4, '\0');
  store_le(all.data(), static_cast<std::uint32_t>(bytes.size()));
  all += bytes;
  for (std::size_t done = 0; done < all.size();) {
    const ssize_t put = ::send(fd, all.data() + done, all.size() - done, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno("writing to a comparison");
    done += static_cast<std::size_t>(put);
  }
  return {};
}

Result<std::string> read_block(int fd, std::chrono::milliseconds limit) {
  char length[4];
  HOTBACKUP_TRY(read_exactly(fd, length, sizeof length, limit));
  std::string bytes;
  if (const auto size = load_le<std::uint32_t>(length); size <= wire::kMessageBytesMax)
    bytes.resize(size);
  else
    return fail(ErrorCode::kProtocol, "a comparison says too much at once");
  HOTBACKUP_TRY(read_exactly(fd, bytes.data(), bytes.size(), limit));
  return bytes;
}

// Installed they lie side by side; in a build tree each has its folder.
Result<std::string> administration_program() {
  std::error_code error;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place : {"hotbackup", "../tools/hotbackup/hotbackup", "../hotbackup/hotbackup"})
    if (const auto path = folder / place;
        ::access(path.c_str(), X_OK) == 0 && std::filesystem::is_regular_file(path, error))
      return path.string();
  return fail(ErrorCode::kNotFound, "the program hotbackup is not beside " + folder.string() +
                                        ": install it on this node too");
}

class CompareChild {
 public:
  ~CompareChild() {
    pipe_.reset();
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  static Result<std::unique_ptr<CompareChild>> start(const Here& here) {
    HOTBACKUP_ASSIGN(std::string program, administration_program());
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return fail_errno("starting a comparison");
    auto child = std::make_unique<CompareChild>();
    child->pipe_ = os::UniqueFd(ends[0]);
    const os::UniqueFd theirs(ends[1]);
    std::string words[] = {program, "--config", here.configuration.source, "compare-side",
                           here.settings.name};
    char* const arguments[] = {words[0].data(), words[1].data(), words[2].data(),
                               words[3].data(), words[4].data(), nullptr};
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_adddup2(&files, theirs.get(), STDIN_FILENO);
    ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);  // Asio's sockets
    const int error =
        ::posix_spawn(&child->pid_, program.c_str(), &files, nullptr, arguments, environ);
    ::posix_spawn_file_actions_destroy(&files);
    if (error != 0) return fail_errno("starting " + program, error);
    return child;
  }

  Result<std::string> ask(const std::string& body) {
    HOTBACKUP_TRY(write_block(pipe_.get(), body));
    return read_block(pipe_.get(), kAnswerLimit);
  }

  /// It has ended by itself.
  bool over() {
    if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) != 0) pid_ = -1;
    return pid_ <= 0;
  }

 private:
  pid_t pid_ = -1;
  os::UniqueFd pipe_;
};

CompareChildren::CompareChildren() = default;
CompareChildren::~CompareChildren() = default;

Result<std::string> CompareChildren::ask(const Here& here, std::uint64_t token,
                                         const std::string& body) {
  const std::lock_guard guard(mutex_);
  std::erase_if(children_, [](auto& child) { return child.second->over(); });
  auto child = children_.find(token);
  if (child == children_.end()) {
    if (children_.size() >= kChildrenMax)
      return fail(ErrorCode::kBusy, "other comparisons are running on " + here.node());
    HOTBACKUP_ASSIGN(auto started, CompareChild::start(here));
    child = children_.emplace(token, std::move(started)).first;
  }
  auto answer = child->second->ask(body);
  if (!answer) children_.erase(child);
  return answer;
}

}  // namespace hotbackup::roles
