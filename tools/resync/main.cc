// SPDX-License-Identifier: Apache-2.0
// hotbackup-resync: saves, restores, journal volumes. `hotbackup save …` runs it as well.
#include <cstdio>
#include <exception>

#include <csignal>

#include "tools/hotbackup/command_line.h"
#include "tools/resync/command.h"

namespace {

using namespace hotbackup;

int run(int count, char** words) {
  cli::Session session;
  session.arguments.assign(words + 1, words + count);
  CLI::App app("Saves and restores groups of LMDB environments, and carries their journal.",
               "hotbackup-resync");
  app.set_version_flag("--version", "hotbackup-resync " HOTBACKUP_VERSION);
  app.add_option("--config", session.config_path,
                 "configuration file (default $HOTBACKUP_CONFIG, then "
                 "/etc/hotbackup/hotbackup.toml)")
      ->type_name("FILE");
  app.add_flag("--json", session.json, "prints one JSON object");
  app.require_subcommand(1);
  app.fallthrough();
  resync::add_save(app, session);
  resync::add_restore(app, session);
  resync::add_check(app, session);
  resync::add_export(app, session);
  resync::add_load(app, session);
  resync::add_mark(app, session);
  resync::add_saves(app, session);
  resync::add_drain(app, session);
  resync::add_seed(app, session);
  resync::add_tail(app, session);
  resync::add_drill(app, session);
  resync::add_failback(app, session);
  resync::add_scheduled(app, session);
  cli::add_recover(app, session);
  cli::add_notify_test(app, session);
  try {
    app.parse(count, words);
  } catch (const CLI::Success& asked) {
    return app.exit(asked) == 0 ? cli::kDone : cli::kUsage;
  } catch (const CLI::ParseError& error) {
    std::string text = error.what();
    for (char& c : text)
      if (c == '\n') c = ' ';
    std::fprintf(stderr, "hotbackup-resync: HB-usage: %s; see hotbackup-resync --help\n",
                 text.c_str());
    return cli::kUsage;
  }
  const Result<int> result = session.action();
  std::fflush(stdout);
  if (result) return *result;
  return cli::report_error(session, "hotbackup-resync", result.error());
}

}  // namespace

int main(int count, char** words) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away is an error of the write
  try {
    return run(count, words);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "hotbackup-resync: HB-failed: %s\n", error.what());
    return cli::kFailed;
  }
}
