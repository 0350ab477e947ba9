// SPDX-License-Identifier: Apache-2.0
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/service/problems.h"
#include "common/service/supervisor.h"

namespace hotbackup::service {
namespace {

constexpr int kWrongUsage = 2;
constexpr int kFoundProblems = 4;

void start_log() {
  auto logger = std::make_shared<spdlog::logger>("hotbackup",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l: %v", spdlog::pattern_time_type::utc);
  spdlog::set_default_logger(std::move(logger));
}

void print_check(const std::vector<std::string>& problems,
                 const std::vector<std::string>& warnings) {
  const nlohmann::ordered_json out{
      {"ok", problems.empty()}, {"problems", problems}, {"warnings", warnings}};
  std::printf("%s\n",
              out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

int check(const Program& program, const config::Configuration& configuration, bool json) {
  const std::vector<std::string> problems = find_problems(configuration);
  if (json) print_check(problems, configuration.warnings);
  for (const std::string& warning : configuration.warnings)
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  for (const std::string& problem : problems)
    std::fprintf(stderr, "%s: %s\n", program.name.c_str(), problem.c_str());
  if (!problems.empty()) return kFoundProblems;
  if (!json) std::printf("%s: no problem found\n", configuration.source.c_str());
  return 0;
}

std::string with_hint(const Error& error) {
  if ((error.os_error() != EACCES && error.os_error() != EPERM) || ::geteuid() == 0)
    return coded(error);
  return coded(error) + "; start it as root, or as the user of its service (systemctl cat)";
}

}  // namespace

int run(int argc, char** argv, const Program& program) {
  std::string path = config::default_path();
  bool check_only = false;
  bool json = false;
  CLI::App app(program.description, program.name);
  app.set_version_flag("--version", program.name + " " HOTBACKUP_VERSION);
  app.add_option("--config", path, "configuration file")->type_name("FILE");
  auto* check_flag =
      app.add_flag("--check", check_only, "read the configuration, say what is wrong, and exit");
  app.add_flag("--json", json, "with --check: prints one JSON object")->needs(check_flag);
  const char* name = program.name.c_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked) == 0 ? 0 : kWrongUsage;
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "%s: HB-usage: %s; see %s --help\n", name,
                 in_one_line(error.what()).c_str(), name);
    return kWrongUsage;
  }

  auto configuration = config::load(path);
  if (!configuration) {
    const std::string text = with_hint(configuration.error());
    if (json) print_check({text}, {});
    std::fprintf(stderr, "%s: %s\n", name, text.c_str());
    return kWrongUsage;
  }
  if (check_only) return check(program, *configuration, json);

  start_log();
  std::signal(SIGPIPE, SIG_IGN);  // a peer that went away is an error of the write, not our end
  for (const std::string& warning : configuration->warnings) spdlog::warn("{}", warning);
  auto node = make_node(std::move(*configuration));
  if (!node) {
    spdlog::error("{}", with_hint(node.error()));
    return 1;
  }
  spdlog::info("{} {} on node {} ({})", program.name, HOTBACKUP_VERSION,
               node->configuration.node.name, node->key->fingerprint());
  Supervisor supervisor(program, path, std::move(*node));
  const int code = supervisor.run();
  spdlog::info("{} has stopped", program.name);
  return code;
}

}  // namespace hotbackup::service
