// SPDX-License-Identifier: Apache-2.0
#include "common/net/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <asio/experimental/as_tuple.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <csignal>
#include <cstdlib>
#include <vector>

#include "common/base/clock.h"
#include "common/net/deadline.h"
#include "common/net/task_group.h"
#include "common/os/unique_fd.h"

namespace hotbackup::net {
namespace {

constexpr auto kNoThrow = asio::experimental::as_tuple(asio::use_awaitable);
constexpr std::size_t kLastLineMax = 240;
constexpr std::size_t kPipeBytes = 65536;

/// What a child has said, in bounded memory: its last line that is not empty.
class LastLine {
 public:
  void add(std::string_view text) {
    for (const char c : text) {
      if (c == '\n') {
        if (!current_.empty()) last_ = std::move(current_);
        current_.clear();
      } else if (current_.size() < kLastLineMax) {
        current_ += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
      }
    }
  }
  const std::string& text() const { return current_.empty() ? last_ : current_; }

 private:
  std::string last_;
  std::string current_;
};

/// A child in a process group of its own; whatever is left of it is killed at the end.
class Child {
 public:
  Child() = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { (void)reap(); }

  Result<> start(const Command& command, int stderr_fd);
  /// A descriptor that is readable when the child has ended.
  Result<os::UniqueFd> handle() const {
    os::UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    if (!fd) return fail_errno("watching a command");
    return fd;
  }
  /// Kills what still runs; how the child ended.
  int reap() {
    if (pid_ <= 0) return status_;
    if (grace_.count() != 0) ask_to_end();
    ::kill(-pid_, SIGKILL);
    while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status_;
  }

 private:
  void ask_to_end() {
    const auto ended = handle();
    if (!ended) return;
    ::kill(-pid_, SIGTERM);
    pollfd ready{ended->get(), POLLIN, 0};
    while (::poll(&ready, 1, static_cast<int>(grace_.count())) < 0 && errno == EINTR) {
    }
  }

  pid_t pid_ = -1;
  int status_ = 0;
  std::chrono::milliseconds grace_{};
};

std::vector<std::string> environment_of(const Command& command) {
  std::vector<std::string> environment;
  for (const char* name : {"PATH", "HOME", "LANG", "TZ", "USER", "LOGNAME"})
    if (const char* value = std::getenv(name))
      environment.push_back(std::string(name) + "=" + value);
  for (const auto& [name, value] : command.environment) environment.push_back(name + "=" + value);
  return environment;
}

Result<> Child::start(const Command& command, int stderr_fd) {
  std::vector<std::string> environment = environment_of(command);
  std::vector<char*> names;
  for (std::string& entry : environment) names.push_back(entry.data());
  names.push_back(nullptr);
  std::string shell = "/bin/sh";
  std::string dash = "-c";
  std::string text = command.shell;
  char* const words[] = {shell.data(), dash.data(), text.data(), nullptr};

  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files, stderr_fd, STDERR_FILENO);
  ::posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);  // Asio's sockets
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t ignored;
  ::sigemptyset(&none);
  ::sigemptyset(&ignored);
  ::sigaddset(&ignored, SIGPIPE);  // the servers ignore it
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &ignored);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(
      &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, shell.c_str(), &files, &attributes, words, names.data());
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return fail_errno("starting " + command.shell, error);
  pid_ = pid;
  grace_ = command.grace;
  return {};
}

using Descriptor = asio::posix::stream_descriptor;

asio::awaitable<void> read_lines(Descriptor& output, LastLine& line) {
  std::array<char, 4096> buffer;
  while (true) {
    auto [error, bytes] = co_await output.async_read_some(asio::buffer(buffer), kNoThrow);
    if (error) co_return;
    line.add({buffer.data(), bytes});
  }
}

asio::awaitable<void> wait_ended(Descriptor& handle, Descriptor& output) {
  auto [error] = co_await handle.async_wait(Descriptor::wait_read, kNoThrow);
  // A grandchild may keep stderr open: once the child has ended, what is there is all.
  if (!error) output.cancel();
}

asio::awaitable<Result<>> attend(Descriptor& handle, Descriptor& output, LastLine& line) {
  co_await asio::this_coro::throw_if_cancelled(false);
  TaskGroup tasks(co_await asio::this_coro::executor);
  tasks.spawn(read_lines(output, line));
  tasks.spawn(wait_ended(handle, output));
  Result<> joined = co_await tasks.join();
  std::array<char, 4096> buffer;
  for (std::size_t all = 0; all < kPipeBytes;) {  // a grandchild may go on writing
    const ssize_t bytes = ::read(output.native_handle(), buffer.data(), buffer.size());
    if (bytes <= 0) break;
    line.add({buffer.data(), static_cast<std::size_t>(bytes)});
    all += static_cast<std::size_t>(bytes);
  }
  co_return joined;
}

std::string how_it_ended(int status) {
  if (WIFEXITED(status)) return "ended with " + std::to_string(WEXITSTATUS(status));
  return "was ended by signal " + std::to_string(WTERMSIG(status));
}

}  // namespace

asio::awaitable<Result<>> run_command(Command command) {
  const auto executor = co_await asio::this_coro::executor;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) co_return fail_errno("starting a command");
  Descriptor output(executor, ends[0]);
  os::UniqueFd stderr_end(ends[1]);
  // The child's end blocks: a program does not expect EAGAIN from its stderr.
  ::fcntl(stderr_end.get(), F_SETFL, 0);
  Child child;
  Result<> started = child.start(command, stderr_end.get());
  if (!started) co_return started;
  stderr_end.reset();
  auto handle = child.handle();
  if (!handle) co_return fail(std::move(handle).error());
  Descriptor ended(executor, handle->release());
  LastLine line;
  auto attended = attend(ended, output, line);
  Result<> in_time = co_await within(
      command.limit, "took longer than " + human_duration(command.limit), std::move(attended));
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none)
    co_return fail(ErrorCode::kCancelled, "cancelled");
  if (!in_time) co_return in_time;
  const int status = child.reap();
  if (status == 0) co_return Result<>();
  std::string text = how_it_ended(status);
  if (!line.text().empty()) text += ": " + line.text();
  co_return fail(ErrorCode::kIo, std::move(text));
}

}  // namespace hotbackup::net
