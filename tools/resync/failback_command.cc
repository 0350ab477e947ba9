// SPDX-License-Identifier: Apache-2.0
// hotbackup failback: the whole way home, out of steps that exist. Each looks at the state first,
// so that it may be interrupted anywhere and typed again.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include <cstdio>
#include <optional>
#include <sstream>
#include <thread>

#include "common/config/quantity.h"
#include "common/os/file.h"
#include "tools/hotbackup/command_log.h"
#include "tools/resync/command.h"
#include "tools/resync/container.h"
#include "tools/resync/peers_wait.h"

namespace hotbackup::resync {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct FailbackOptions {
  std::string group;
  std::string timeout = "10 min";
  bool no_switch = false;
  bool dry_run = false;
};

constexpr milliseconds kLook{200};
constexpr milliseconds kOthersSwitch{5000};  // most that one without a comparison takes

/// A command of `hotbackup`, the program beside this one; its output is this one's progress.
Result<int> run_beside(const std::vector<std::string>& words) {
  char self[4096];
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self - 1);
  std::string path(self, n > 0 ? static_cast<std::size_t>(n) : 0);
  path = path.substr(0, path.rfind('/') + 1) + "hotbackup";
  std::vector<char*> list{path.data()};
  for (const std::string& word : words) list.push_back(const_cast<char*>(word.c_str()));
  list.push_back(nullptr);
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("starting " + path);
  if (pid == 0) {
    ::dup2(2, 1);
    ::execv(path.c_str(), list.data());
    ::execvp("hotbackup", list.data());
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return fail_errno("waiting for " + path);
  return WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(cli::kFailed);
}

/// What is kept of one, for the next: that it is under way, or came to its end. Typed again after
/// that, it must not begin the way back.
struct Note {
  std::string wanted;  // who is to be master
  bool done = false;
};

class Failback {
 public:
  Failback(const Session& session, const FailbackOptions& options)
      : session_(session), options_(options) {}
  Result<int> run();

 private:
  Result<std::string> target();
  bool is_master(std::string_view node) const;
  bool was_done() const;
  std::optional<Note> read_note() const;
  Result<> write_note(const Note& note);
  bool others_switch_ends();
  Result<> wait_for_rejoin();
  Result<> step(const std::string& name);
  std::string note_path() const { return group().directory() + "/failback"; }
  control::Group& group() const { return *opened_->group; }
  milliseconds left() const {
    return std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(start_ + limit_ -
                                                                              steady_clock::now()));
  }

  const Session& session_;
  const FailbackOptions& options_;
  std::unique_ptr<cli::OpenGroup> opened_;
  const steady_clock::time_point start_ = steady_clock::now();
  steady_clock::time_point step_ = start_;
  milliseconds limit_{};
  Json steps_ = Json::array();
};

Result<> Failback::step(const std::string& name) {
  const auto now = steady_clock::now();
  const double ms = std::chrono::duration<double, std::milli>(now - step_).count();
  step_ = now;
  steps_.push_back(Json{{"name", name}, {"milliseconds", ms}});
  std::fprintf(
      stderr, "  %s (%s)\n", name.c_str(),
      human_duration(std::chrono::nanoseconds(static_cast<std::int64_t>(ms * 1e6))).c_str());
  return {};
}

/// Who is to be master: the node that is not. While one is under way, the one that it began for;
/// where it has come to its end, that one still.
Result<std::string> Failback::target() {
  const std::string& here = opened_->configuration.node.name;
  std::string wanted = here;
  if (group().role() == control::Role::kMaster) {
    if (opened_->settings->peers.size() != 1)
      return fail(ErrorCode::kConfig, "group " + opened_->settings->name +
                                          " has several peers: type failback on the one that is "
                                          "to be master");
    wanted = opened_->settings->peers.front();
  }
  if (const auto note = read_note(); note && (!note->done || is_master(note->wanted)))
    wanted = note->wanted;
  return wanted;
}

// On a fenced node the servers bring it back; on the master its peer is one that must answer.
Result<> Failback::wait_for_rejoin() {
  for (;;) {
    bool there = false;
    if (group().role() == control::Role::kMaster) {
      for (const std::string& name : opened_->settings->peers)
        if (const control::PeerEntry* peer = group().peer(name))
          there = there ||
                  peer->link.load() == static_cast<std::uint32_t>(control::LinkState::kStreaming);
    } else if (group().role() == control::Role::kSlave) {
      for (const std::string& name : opened_->settings->peers)
        if (const control::PeerEntry* peer = group().peer(name))
          there = there ||
                  peer->link.load() == static_cast<std::uint32_t>(control::LinkState::kStreaming);
    }
    if (there) return {};
    if (left().count() == 0)
      return fail(ErrorCode::kTimeout,
                  "group " + opened_->settings->name +
                      ": the two nodes are not connected, or the rejoin is not over: see hotbackup "
                      "why " +
                      opened_->settings->name + ", then type failback again");
    std::this_thread::sleep_for(std::min(kLook, left()));
  }
}

std::optional<Note> Failback::read_note() const {
  const auto text = os::read_file(note_path());
  if (!text) return std::nullopt;
  std::istringstream words(*text);
  Note note;
  std::string done;
  if (!(words >> note.wanted)) return std::nullopt;
  note.done = words >> done && done == "done";
  return note;
}

Result<> Failback::write_note(const Note& note) {
  return os::replace_file(note_path(), note.wanted + (note.done ? " done\n" : "\n"),
                          group().permissions());
}

bool Failback::is_master(std::string_view node) const {
  const bool here = group().role() == control::Role::kMaster;
  return node == (here ? opened_->configuration.node.name : group().layout().master_name);
}

bool Failback::was_done() const {
  const auto note = read_note();
  return note && is_master(note->wanted);
}

// A failback that was killed leaves its switch behind, which goes on by itself, and does not let
// another begin.
bool Failback::others_switch_ends() {
  const auto end = steady_clock::now() + std::min(left(), kOthersSwitch);
  do {
    if (was_done()) return true;
    std::this_thread::sleep_for(kLook);
  } while (steady_clock::now() < end);
  return false;
}

Result<int> Failback::run() {
  HOTBACKUP_ASSIGN(opened_, cli::open_group(session_, options_.group));
  HOTBACKUP_ASSIGN(limit_, config::parse_duration(options_.timeout));
  const std::string& name = opened_->settings->name;
  if (opened_->settings->peers.empty())
    return fail(ErrorCode::kFenced, "group " + name + " has no peer");
  HOTBACKUP_ASSIGN(const std::string wanted, target());
  if (options_.dry_run) {
    std::printf("%s  would make %s master: wait for the rejoin and the queue, compare, switch\n",
                name.c_str(), wanted.c_str());
    return cli::kDone;
  }
  HOTBACKUP_TRY(cli::log_command(session_, group().directory()));
  if (!was_done()) {
    HOTBACKUP_TRY(write_note({wanted}));
    HOTBACKUP_TRY(step("begun"));
    HOTBACKUP_TRY(wait_for_rejoin());
    HOTBACKUP_TRY(step("rejoined"));
    HOTBACKUP_ASSIGN(const std::uint64_t number,
                     wait_for_peers(group(), opened_->settings->peers, left(), "draining"));
    (void)number;
    HOTBACKUP_TRY(step("drained"));
    if (!options_.no_switch) {
      std::vector<std::string> words{"switch", name, "--to", wanted, "--compare"};
      if (!session_.config_path.empty())
        words.insert(words.begin(), {"--config", session_.config_path});
      HOTBACKUP_ASSIGN(const int code, run_beside(words));
      const bool good = code == cli::kDone || code == cli::kNeedsYou;
      if (!good && !(code == cli::kWrongState && others_switch_ends())) return code;
      HOTBACKUP_TRY(step("compared and switched"));
    }
  }
  if (!options_.no_switch) HOTBACKUP_TRY(write_note({wanted, true}));
  if (session_.json)
    std::printf(
        "%s\n",
        Json{{"group", name}, {"to", wanted}, {"switched", !options_.no_switch}, {"steps", steps_}}
            .dump()
            .c_str());
  else if (options_.no_switch)
    std::printf("%s  ready: %s has everything. Next: hotbackup failback %s\n", name.c_str(),
                wanted.c_str(), name.c_str());
  else
    std::printf("%s  home: %s is master\n", name.c_str(), wanted.c_str());
  return cli::kDone;
}

}  // namespace

void add_failback(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "failback", "The whole way home: rejoin if needed, drain, compare, switch; may be run again");
  auto options = std::make_shared<FailbackOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_flag("--no-switch", options->no_switch, "everything but the change of roles");
  command->add_option("--timeout", options->timeout, "gives up then with exit 5")
      ->capture_default_str();
  command->add_flag("--dry-run", options->dry_run, "says what would be done");
  command->callback([&session, options] {
    session.action = [&session, options] { return Failback(session, *options).run(); };
  });
}

}  // namespace hotbackup::resync
