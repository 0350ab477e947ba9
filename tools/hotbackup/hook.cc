// SPDX-License-Identifier: Apache-2.0
// hotbackup hook: how the servers, which are not root, have a hook run that has to be: one that
// moves an address or starts a service. A socket of the service manager that only the servers' user
// may use; at its other end, as root, this program again, which runs nothing but root's own files
// in one directory.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/os/unique_fd.h"
#include "tools/hotbackup/command.h"

namespace hotbackup::cli {
namespace {

constexpr std::array<const char*, 6> kVariables = {"HOTBACKUP_GROUP", "HOTBACKUP_ROLE",
                                                   "HOTBACKUP_EPOCH", "HOTBACKUP_NUMBER",
                                                   "HOTBACKUP_TIME",  "HOTBACKUP_PEER"};
constexpr std::size_t kRequestBytesMax = 4096;
constexpr int kRequestMilliseconds = 5000;

struct HookOptions {
  std::string name;
  std::string socket = "/run/hotbackup/hooks.sock";
  std::string directory = "/etc/hotbackup/hooks";
  bool serve = false;
};

bool is_hook_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.size() < 200 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

// The answer: what the hook prints, a zero byte, its exit code.
Result<int> ask(const HookOptions& options) {
  if (!is_hook_name(options.name))
    return fail(ErrorCode::kConfig, "which hook? A file name in " + options.directory);
  const os::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (options.socket.size() >= sizeof address.sun_path)
    return fail(ErrorCode::kConfig, "the path of the socket is too long");
  std::memcpy(address.sun_path, options.socket.c_str(), options.socket.size() + 1);
  if (!fd || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("cannot reach " + options.socket +
                      " (is hotbackup-hooks.socket started, and is this the servers' user?)");
  std::string request = options.name + "\n";
  for (const char* name : kVariables)
    if (const char* value = std::getenv(name); value != nullptr)
      request += std::string(name) + "=" + value + "\n";
  if (!write_all(fd.get(), request + "\n")) return fail_errno("cannot ask for the hook");
  std::string rest;
  std::array<char, 4096> buffer;
  bool ended = false;
  for (ssize_t got = 0; (got = ::read(fd.get(), buffer.data(), buffer.size())) > 0;) {
    std::string_view text(buffer.data(), static_cast<std::size_t>(got));
    const std::size_t end = ended ? 0 : text.find('\0');
    if (!ended) std::fwrite(text.data(), 1, std::min(end, text.size()), stdout);
    if (!ended && end == std::string_view::npos) continue;
    rest += text.substr(ended ? 0 : end + 1);
    ended = true;
  }
  if (!ended) return fail(ErrorCode::kDisconnected, "hook " + options.name + " was cut off");
  const int code = std::atoi(rest.c_str());
  if (code != 0)
    return fail(ErrorCode::kIo, "hook " + options.name + " ended with " + std::to_string(code));
  return kDone;
}

Result<std::string> read_request(int fd) {
  std::string text;
  while (!text.ends_with("\n\n")) {
    pollfd ready{fd, POLLIN, 0};
    if (::poll(&ready, 1, kRequestMilliseconds) <= 0)
      return fail(ErrorCode::kTimeout, "no whole request came");
    std::array<char, kRequestBytesMax> buffer;
    const ssize_t got = ::read(fd, buffer.data(), buffer.size() - text.size());
    if (got <= 0) return fail(ErrorCode::kProtocol, "no whole request came");
    text.append(buffer.data(), static_cast<std::size_t>(got));
    if (text.size() >= kRequestBytesMax && !text.ends_with("\n\n"))
      return fail(ErrorCode::kProtocol, "the request is too long");
  }
  return text;
}

/// Root's own work only, as for a command that sudo runs.
Result<> check_hook(const HookOptions& options, const std::string& path) {
  for (const std::string& place : {options.directory, path}) {
    struct stat status {};
    if (::lstat(place.c_str(), &status) != 0) return fail_errno("cannot look at " + place);
    if (status.st_uid != ::geteuid() || (status.st_mode & 022) != 0)
      return fail(ErrorCode::kRefused, place + " has to be root's, and nobody else's to write");
    if (place == path && !S_ISREG(status.st_mode))
      return fail(ErrorCode::kRefused, path + " is not a file");
  }
  return {};
}

/// Whether it is one of kVariables with a value that no shell trips over.
bool is_variable(const std::string& line) {
  const std::size_t equals = line.find('=');
  if (equals == std::string::npos) return false;
  const std::string name = line.substr(0, equals);
  return std::any_of(kVariables.begin(), kVariables.end(),
                     [&](const char* known) { return name == known; }) &&
         std::all_of(line.begin() + static_cast<std::ptrdiff_t>(equals) + 1, line.end(),
                     [](unsigned char c) {
                       return std::isalnum(c) != 0 || std::strchr("-_.:,/ ", c) != nullptr;
                     });
}

Result<int> run_hook(const HookOptions& options, const std::string& request) {
  const std::size_t end = request.find('\n');
  const std::string name = request.substr(0, end);
  if (!is_hook_name(name)) return fail(ErrorCode::kRefused, "that is no name of a hook");
  const std::string path = options.directory + "/" + name;
  HOTBACKUP_TRY(check_hook(options, path));
  std::vector<std::string> variables = {
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  for (std::size_t at = end + 1; at + 1 < request.size();) {
    const std::size_t line_end = request.find('\n', at);
    const std::string line = request.substr(at, line_end - at);
    if (!is_variable(line)) return fail(ErrorCode::kRefused, "a variable that no hook gets");
    variables.push_back(line);
    at = line_end + 1;
  }
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno("cannot start " + path);
  if (child == 0) {
    ::close(STDIN_FILENO);
    (void)::open("/dev/null", O_RDONLY);
    ::dup2(STDOUT_FILENO, STDERR_FILENO);
    char* const words[] = {const_cast<char*>(path.c_str()), nullptr};
    ::execve(path.c_str(), words, environment.data());
    ::_exit(126);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// One request on standard input, the answer on standard output: both the accepted socket.
Result<int> serve(const HookOptions& options) {
  const auto request = read_request(STDIN_FILENO);
  Result<int> code = request ? run_hook(options, *request) : tl::unexpected(Error(request.error()));
  std::string answer = code ? "" : code.error().text() + "\n";
  answer += '\0' + std::to_string(code ? *code : 125) + "\n";
  (void)write_all(STDOUT_FILENO, answer);
  if (!code) return fail(std::move(code).error());
  return kDone;
}

}  // namespace

void add_hook(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "hook", "Has a file of /etc/hotbackup/hooks run as root: for on_promote and the other hooks");
  auto options = std::make_shared<HookOptions>();
  command->add_option("NAME", options->name, "a file in that directory, root's own");
  command->add_option("--socket", options->socket, "where hotbackup-hooks.socket listens")
      ->type_name("PATH")
      ->capture_default_str();
  command->add_flag("--serve", options->serve, "the other end: one request on standard input");
  command->add_option("--hooks", options->directory, "with --serve: where the hooks are")
      ->type_name("DIR")
      ->capture_default_str();
  command->footer("In hotbackup.toml: on_promote = \"hotbackup hook move-address\".");
  command->callback([&session, options] {
    session.action = [options] { return options->serve ? serve(*options) : ask(*options); };
  });
}

}  // namespace hotbackup::cli
