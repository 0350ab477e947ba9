// SPDX-License-Identifier: Apache-2.0
// hotbackup: administration of this node's groups, one command with subcommands.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>

#include "tools/hotbackup/command_line.h"

namespace {

using namespace hotbackup;

/// Everything behind "--", or behind "run", is somebody else's command line: the parser must not
/// see it. Returns what the parser gets.
std::vector<std::string> split(cli::Session& session) {
  std::vector<std::string> ours;
  bool command_seen = false;
  bool running = false;
  auto word = session.arguments.begin();
  const auto end = session.arguments.end();
  for (; word != end && *word != "--"; ++word) {
    const bool option = word->starts_with('-');
    if (running && !option) break;
    ours.push_back(*word);
    if (*word == "--config" && word + 1 != end) {
      ours.push_back(*++word);
    } else if (!option && !command_seen) {
      command_seen = true;
      running = *word == "run";
    }
  }
  if (word != end && *word == "--") ++word;
  session.program.assign(word, end);
  return ours;
}

/// Commands of hotbackup-resync, the program beside this one: run as git runs its own.
constexpr std::string_view kResync[] = {"save",  "saves", "restore",   "seed",       "export",
                                        "load",  "drain", "tail",      "drill",      "failback",
                                        "check", "mark",  "scheduled", "notify-test"};

/// The command line's command, if it is one of those.
bool is_resync(const std::vector<std::string>& words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--config")
      ++i;
    else if (!words[i].starts_with('-'))
      return std::find(std::begin(kResync), std::end(kResync), words[i]) != std::end(kResync);
  }
  return false;
}

/// Does not come back when it works.
int run_resync(char** words) {
  char self[4096];
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self - 1);
  std::string path(self, n > 0 ? static_cast<std::size_t>(n) : 0);
  path = path.substr(0, path.rfind('/') + 1) + "hotbackup-resync";
  ::execv(path.c_str(), words);
  ::execvp("hotbackup-resync", words);
  std::fprintf(stderr, "hotbackup: HB-io: cannot run %s: %s\n", path.c_str(), std::strerror(errno));
  return cli::kFailed;
}

int usage_error(const std::string& text) {
  std::fprintf(stderr, "hotbackup: HB-usage: %s; see hotbackup --help\n", text.c_str());
  return cli::kUsage;
}

int parse(CLI::App& app, std::vector<std::string> words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--config") {
      ++i;
    } else if (!words[i].starts_with('-')) {
      const auto named = [&](const CLI::App* command) { return command->get_name() == words[i]; };
      if (app.get_subcommands(named).empty())
        return usage_error("there is no command '" + words[i] + "'");
      break;
    }
  }
  std::vector<std::string> reversed(words.rbegin(), words.rend());  // as CLI11 wants it
  try {
    app.parse(std::move(reversed));
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked) == 0 ? -1 : cli::kUsage;
  } catch (const CLI::ParseError& error) {
    std::string text = error.what();
    for (char& c : text)
      if (c == '\n') c = ' ';
    return usage_error(text);
  }
  return cli::kDone;
}

int run(int count, char** words) {
  cli::Session session;
  session.arguments.assign(words + 1, words + count);
  if (is_resync(session.arguments)) return run_resync(words);
  CLI::App app("Administers the groups of LMDB environments that this node is master or slave of.",
               "hotbackup");
  app.set_version_flag("--version", "hotbackup " HOTBACKUP_VERSION);
  app.add_option("--config", session.config_path,
                 "configuration file (default $HOTBACKUP_CONFIG, then "
                 "/etc/hotbackup/hotbackup.toml)")
      ->type_name("FILE");
  app.add_flag("--json", session.json, "prints one JSON object");
  app.footer("save, restore and their like: see hotbackup-resync --help");
  app.require_subcommand(1);
  app.fallthrough();
  cli::add_setup(app, session);
  cli::add_init(app, session);
  cli::add_capture(app, session);
  cli::add_run(app, session);
  cli::add_status(app, session);
  cli::add_why(app, session);
  cli::add_incidents(app, session);
  cli::add_explain(app, session);
  cli::add_report(app, session);
  cli::add_trace(app, session);
  cli::add_role(app, session);
  cli::add_scope(app, session);
  cli::add_log(app, session);
  cli::add_wait(app, session);
  cli::add_orphans(app, session);
  cli::add_orphan_write(app, session);
  cli::add_apply_commands(app, session);
  cli::add_promote(app, session);
  cli::add_switch(app, session);
  cli::add_compare(app, session);
  cli::add_test(app, session);
  cli::add_config(app, session);
  cli::add_identity(app, session);
  cli::add_pair(app, session);
  cli::add_recover(app, session);
  cli::add_forget(app, session);
  cli::add_unlink(app, session);
  cli::add_hook(app, session);

  const int parsed = parse(app, split(session));
  if (parsed != cli::kDone) return parsed < 0 ? cli::kDone : parsed;
  if (!session.program.empty() && !app.got_subcommand("run"))
    return usage_error("only run takes a command behind --");
  const Result<int> result = session.action();
  std::fflush(stdout);
  if (result) return *result;
  return cli::report_error(session, "hotbackup", result.error());
}

}  // namespace

int main(int count, char** words) {
  try {
    return run(count, words);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "hotbackup: HB-failed: %s\n", error.what());
    return cli::kFailed;
  }
}
