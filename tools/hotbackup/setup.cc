// SPDX-License-Identifier: Apache-2.0
// hotbackup setup: the first configuration, in a dialogue. Finds, asks, shows, writes one file;
// starts and changes nothing else, and never touches a configuration that exists.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "common/os/file.h"
#include "tools/hotbackup/command.h"
#include "tools/hotbackup/setup_text.h"

namespace hotbackup::cli {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kUsualPlaces = {"/var/lib", "/var/spool", "/var/cache",
                                               "/etc",     "/srv",       "/opt"};

struct SetupOptions {
  std::string name;
  std::string state = "/var/lib/hotbackup";
  std::string listen;
  std::vector<std::string> peers;
  std::vector<std::string> scan;
  bool yes = false;
  bool dry_run = false;
};

/// Asks on the terminal; without one, or with --yes, the proposed answer counts.
class Dialogue {
 public:
  explicit Dialogue(bool yes) : yes_(yes) {}

  std::string ask(const std::string& question, const std::string& proposed) const {
    if (yes_) return proposed;
    std::fprintf(stderr, "%s [%s] ", question.c_str(), proposed.c_str());
    std::string answer;
    if (!std::getline(std::cin, answer) || answer.empty()) return proposed;
    return answer;
  }

  bool confirm(const std::string& question) const {
    const std::string answer = ask(question, "yes");
    return answer.starts_with('y') || answer.starts_with('Y');
  }

 private:
  const bool yes_;
};

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  if (::gethostname(name, sizeof name - 1) != 0) return "node";
  const std::string whole = name;
  return usable_name(whole.substr(0, whole.find('.')));
}

Result<std::vector<ProposedPeer>> parse_peers(const std::vector<std::string>& texts) {
  std::vector<ProposedPeer> peers;
  for (const std::string& text : texts) {
    const std::size_t first = text.find('=');
    if (first == std::string::npos)
      return fail(ErrorCode::kConfig, "--peer takes NAME=ADDRESS or NAME=ADDRESS=FINGERPRINT");
    const std::size_t second = text.find('=', first + 1);
    peers.push_back({text.substr(0, first), text.substr(first + 1, second - first - 1),
                     second == std::string::npos ? "" : text.substr(second + 1)});
  }
  return peers;
}

void show(const ProposedGroup& group) {
  std::fprintf(stderr, "\ngroup %s: user %s, %llu kB\n", group.name.c_str(), group.user.c_str(),
               static_cast<unsigned long long>(group.bytes / 1000));
  for (const ProposedEnvironment& environment : group.environments)
    std::fprintf(stderr, "  %-16s %s%s\n", environment.name.c_str(), environment.path.c_str(),
                 environment.files > 1
                     ? ("  (" + std::to_string(environment.files) + " files)").c_str()
                     : "");
  for (const Holder& holder : group.holders)
    std::fprintf(stderr, "  open in %s, pid %d, user %s%s%s\n", holder.program.c_str(),
                 static_cast<int>(holder.pid), holder.user.c_str(),
                 holder.unit.empty() ? "" : (", " + holder.unit).c_str(),
                 holder.links_library ? "" : ": LMDB is linked into it, and it is not captured");
}

/// What to type next, in this order.
std::vector<std::string> next_steps(const std::vector<ProposedGroup>& groups, bool has_peers) {
  std::vector<std::string> steps;
  if (!has_peers) steps.push_back("hotbackup pair --listen, and hotbackup pair on the other node");
  for (const ProposedGroup& group : groups)
    steps.push_back("hotbackup init " + group.name + " --role master");
  std::vector<std::string> units;
  for (const ProposedGroup& group : groups)
    for (const Holder& holder : group.holders)
      if (!holder.unit.empty() && std::find(units.begin(), units.end(), holder.unit) == units.end())
        units.push_back(holder.unit);
  for (const std::string& unit : units)
    steps.push_back("hotbackup capture " + unit + ", and restart it");
  steps.push_back("systemctl enable --now hotbackup.target");
  return steps;
}

nlohmann::ordered_json to_json(const std::vector<ProposedGroup>& groups, const std::string& file,
                               bool written, const std::vector<std::string>& steps) {
  nlohmann::ordered_json out{{"file", file}, {"written", written}};
  out["groups"] = nlohmann::json::array();
  for (const ProposedGroup& group : groups) {
    nlohmann::ordered_json one{{"name", group.name}, {"user", group.user}, {"bytes", group.bytes}};
    one["environments"] = nlohmann::json::array();
    for (const ProposedEnvironment& environment : group.environments)
      one["environments"].push_back(
          {{"name", environment.name}, {"path", environment.path}, {"files", environment.files}});
    one["programs"] = nlohmann::json::array();
    for (const Holder& holder : group.holders)
      one["programs"].push_back({{"pid", holder.pid},
                                 {"program", holder.program},
                                 {"user", holder.user},
                                 {"unit", holder.unit},
                                 {"library", holder.links_library}});
    out["groups"].push_back(std::move(one));
  }
  out["next"] = steps;
  return out;
}

Result<int> setup(const Session& session, const SetupOptions& options) {
  const std::string file =
      session.config_path.empty() ? config::default_path() : session.config_path;
  struct stat status {};
  if (!options.dry_run && ::lstat(file.c_str(), &status) == 0)
    return fail(ErrorCode::kRefused, file + " exists already: edit it, or move it away first");
  if (!options.yes && ::isatty(STDIN_FILENO) == 0)
    return fail(ErrorCode::kConfig,
                "this asks questions: without a terminal add --yes, which takes what is proposed");
  HOTBACKUP_ASSIGN(const auto peers, parse_peers(options.peers));

  const bool everywhere = options.scan.empty();
  const auto found = find_environments(everywhere ? kUsualPlaces : options.scan, options.state,
                                       /*only_there=*/!everywhere);
  if (found.empty())
    return fail(ErrorCode::kNotFound, "no LMDB environment was found: add --scan DIR, or write " +
                                          file + " from the example, docs/hotbackup.toml");
  const Dialogue dialogue(options.yes);
  std::vector<ProposedGroup> groups;
  for (ProposedGroup& group : propose_groups(found)) {
    if (!session.json) show(group);
    if (dialogue.confirm("Copy group " + group.name + "?")) groups.push_back(std::move(group));
  }
  const std::string node =
      dialogue.ask("Name of this node?", options.name.empty() ? host_name() : options.name);
  const std::string text = write_configuration(node, options.state, options.listen, peers, groups);
  HOTBACKUP_TRY(config::parse(text, file));  // what is written can be read
  const std::vector<std::string> steps = next_steps(groups, !peers.empty());
  const bool written = !options.dry_run && dialogue.confirm("Write " + file + "?");
  if (written) {
    HOTBACKUP_TRY(os::make_directories(fs::path(file).parent_path(), {.mode = 0755}));
    HOTBACKUP_TRY(os::replace_file(file, text, {.mode = 0644}));
  }
  if (session.json) {
    std::printf("%s\n", to_json(groups, file, written, steps).dump(2).c_str());
  } else if (!written) {
    std::printf("%s", text.c_str());
  } else {
    std::printf("written %s\n", file.c_str());
    for (const std::string& step : steps) std::printf("next    %s\n", step.c_str());
  }
  return kDone;
}

}  // namespace

void add_setup(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "setup", "First configuration: finds LMDB environments and their programs, asks, writes it");
  auto options = std::make_shared<SetupOptions>();
  command->add_option("--name", options->name, "this node's name (default: the host's)");
  command->add_option("--state", options->state, "where journals and keys are kept")
      ->type_name("DIR")
      ->capture_default_str();
  command->add_option("--listen", options->listen, "where the slave server waits")
      ->type_name("ADDRESS");
  command
      ->add_option("--peer", options->peers,
                   "a node that is known: NAME=ADDRESS=FINGERPRINT; on loopback NAME=ADDRESS")
      ->type_name("PEER");
  command
      ->add_option("--scan", options->scan,
                   "only what lies in these directories (default: the usual "
                   "ones, and all that programs have open)")
      ->type_name("DIR");
  command->add_flag("--yes", options->yes, "takes what is proposed, without a question");
  command->add_flag("--dry-run", options->dry_run, "prints the file, and writes nothing");
  command->callback([&session, options] {
    session.action = [&session, options] { return setup(session, *options); };
  });
}

}  // namespace hotbackup::cli
