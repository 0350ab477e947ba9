// SPDX-License-Identifier: Apache-2.0
#include "common/roles/orphan_apply.h"

#include <unistd.h>

#include <array>
#include <asio/co_spawn.hpp>
#include <climits>
#include <random>
#include <sstream>

#include "common/net/child_process.h"

namespace hotbackup::roles {
namespace {

using std::chrono::milliseconds;

constexpr char kTitle[] = "hotbackup orphan 1\n";
constexpr std::size_t kPartBytes = 32 << 10;  // a stranger's first message is no longer than 64 KiB
constexpr milliseconds kReachLimit{5000};
constexpr milliseconds kPerformLimit{120'000};

/// The command, beside a server that is installed or in the build tree.
Result<std::string> find_command() {
  std::array<char, PATH_MAX> here{};
  const ssize_t size = ::readlink("/proc/self/exe", here.data(), here.size() - 1);
  if (size <= 0) return fail_errno("reading /proc/self/exe");
  const std::string program(here.data(), static_cast<std::size_t>(size));
  const std::string directory = program.substr(0, program.rfind('/'));
  for (const char* place : {"/hotbackup", "/../bin/hotbackup", "/../tools/hotbackup/hotbackup"})
    if (const std::string found = directory + place; ::access(found.c_str(), X_OK) == 0)
      return found;
  return fail(ErrorCode::kNotFound, "the command hotbackup is not beside " + program);
}

/// Removed when it goes.
class Staged {
 public:
  Staged(control::Group& group, std::uint64_t token)
      : name_("orphan-" + std::to_string(token) + ".in"),
        path_(group.directory() + "/" + name_),
        permissions_(group.permissions()) {
    permissions_.mode = 0600;
  }
  ~Staged() {
    if (kept_) return;
    ::unlink(path_.c_str());
    ::unlink((path_ + ".out").c_str());
  }
  Staged(const Staged&) = delete;
  Staged& operator=(const Staged&) = delete;

  const std::string& path() const { return path_; }
  void keep() { kept_ = true; }
  Result<> write(const std::string& directory, std::uint64_t offset, std::string_view bytes) {
    HOTBACKUP_ASSIGN(auto home, os::open_directory(directory, permissions_));
    if (offset == 0) ::unlink(path_.c_str());
    HOTBACKUP_ASSIGN(auto file, offset == 0 ? home->create(name_) : home->open(name_));
    HOTBACKUP_ASSIGN(const auto size, file->size());
    if (size != offset) return fail(ErrorCode::kProtocol, "parts of an orphan are not in order");
    return file->write_at(offset, bytes);
  }

 private:
  const std::string name_;
  const std::string path_;
  os::Permissions permissions_;
  bool kept_ = false;
};

Result<> run_here(net::Command command) {
  asio::io_context io(1);
  Result<> result = fail(ErrorCode::kCancelled, "not run");
  std::exception_ptr thrown;
  asio::co_spawn(io, net::run_command(std::move(command)),
                 [&](std::exception_ptr exception, Result<> done) {
                   thrown = exception;
                   result = std::move(done);
                 });
  io.run();
  if (thrown) std::rethrow_exception(thrown);
  return result;
}

Result<std::string> perform_staged(control::Group& group, const std::string& path) {
  HOTBACKUP_ASSIGN(const auto program, find_command());
  net::Command command;
  command.shell =
      "exec \"$PROGRAM\" run -- \"$PROGRAM\" orphan-write \"$GROUP\" \"$REQUEST\" "
      ">\"$REQUEST.out\"";
  command.environment = {{"PROGRAM", program}, {"GROUP", group.directory()}, {"REQUEST", path}};
  command.limit = kPerformLimit;
  if (auto ran = run_here(std::move(command)); !ran) return fail(std::move(ran).error());
  return os::read_file(path + ".out");
}

std::uint64_t random_token() {
  std::random_device device;
  return (std::uint64_t{device()} << 32 | device()) | 1;
}

}  // namespace

std::string write_request(const OrphanRequest& request) {
  std::string text = kTitle;
  text += std::to_string(request.after.value) + (request.overwrite ? " 1" : " 0");
  for (const std::uint64_t number : request.ours) text += " " + std::to_string(number);
  return text + "\n" + request.frames;
}

Result<OrphanRequest> read_request(const std::string& bytes) {
  const std::size_t begin = sizeof kTitle - 1;
  const std::size_t end = bytes.find('\n', begin);
  if (!bytes.starts_with(kTitle) || end == std::string::npos)
    return fail(ErrorCode::kProtocol, "not a request to apply an orphan");
  OrphanRequest request;
  std::istringstream line(bytes.substr(begin, end - begin));
  line >> request.after.value >> request.overwrite;
  for (std::uint64_t number = 0; line >> number;) request.ours.push_back(number);
  if (!line.eof()) return fail(ErrorCode::kProtocol, "not a request to apply an orphan");
  request.frames = bytes.substr(end + 1);
  return request;
}

Result<std::string> perform_orphan(control::Group& group, const std::string& request) {
  Staged staged(group, random_token());
  HOTBACKUP_TRY(staged.write(group.directory(), 0, request));
  return perform_staged(group, staged.path());
}

Result<std::string> send_orphan(const Here& here, const std::string& master,
                                const std::string& request) {
  auto link = PeerLink::open(here, master, kReachLimit);
  if (!link)
    return fail(ErrorCode::kFenced,
                "the master " + master + " cannot be reached: " + link.error().text());
  wire::Ask ask;
  ask.kind = wire::Ask::Kind::kOrphan;
  ask.token = random_token();
  for (std::size_t at = 0;; at += kPartBytes) {
    ask.from = UpdateNumber(at);
    ask.body = request.substr(at, kPartBytes);
    ask.last = at + kPartBytes >= request.size();
    HOTBACKUP_ASSIGN(auto answer, (*link)->ask(ask, kPerformLimit));
    if (answer.exit != 0) return fail(ErrorCode::kFenced, answer.text);
    if (ask.last) return std::move(answer.report);
  }
}

Result<std::string> take_orphan(control::Group& group, const wire::Ask& ask) {
  if (group.role() != control::Role::kMaster)
    return fail(ErrorCode::kFenced, "this node is not the group's master");
  if (ask.from.value + ask.body.size() > kOrphanBytesMax + (64 << 10))
    return fail(ErrorCode::kFenced, "this orphan is too large");
  Staged staged(group, ask.token);
  HOTBACKUP_TRY(staged.write(group.directory(), ask.from.value, ask.body));
  if (ask.last) return perform_staged(group, staged.path());
  staged.keep();
  return std::string();
}

}  // namespace hotbackup::roles
