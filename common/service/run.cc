// SPDX-License-Identifier: Apache-2.0
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "common/identity/identity.h"
#include "common/service/groups.h"
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

int check(const config::Configuration& configuration) {
  for (const std::string& warning : configuration.warnings)
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  const std::vector<std::string> problems = find_problems(configuration);
  for (const std::string& problem : problems) std::fprintf(stderr, "%s\n", problem.c_str());
  if (!problems.empty()) return kFoundProblems;
  std::printf("%s: no problem found\n", configuration.source.c_str());
  return 0;
}

}  // namespace

std::string program_version() {
  return "hotbackup " HOTBACKUP_VERSION;
}

Result<Node> make_node(config::Configuration configuration) {
  HOTBACKUP_ASSIGN(const auto identity, identity::load_or_create(configuration.node.state));
  HOTBACKUP_ASSIGN(auto key, net::TlsIdentity::make(identity));
  return Node{std::move(configuration), identity.node_id, std::move(key)};
}

int run(int argc, char** argv, const Program& program) {
  std::string path = config::default_path();
  bool check_only = false;
  CLI::App app(program.description, program.name);
  app.set_version_flag("--version", program.name + " " HOTBACKUP_VERSION);
  app.add_option("--config", path, "configuration file")->type_name("FILE");
  app.add_flag("--check", check_only, "read the configuration, say what is wrong, and exit");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kWrongUsage;
  }

  auto configuration = config::load(path);
  if (!configuration) {
    std::fprintf(stderr, "%s: %s\n", program.name.c_str(), configuration.error().text().c_str());
    return kWrongUsage;
  }
  if (check_only) return check(*configuration);

  start_log();
  std::signal(SIGPIPE, SIG_IGN);  // a peer that went away is an error of the write, not our end
  for (const std::string& warning : configuration->warnings) spdlog::warn("{}", warning);
  auto node = make_node(std::move(*configuration));
  if (!node) {
    spdlog::error("{}", node.error().text());
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
