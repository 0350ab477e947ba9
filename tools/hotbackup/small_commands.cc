// SPDX-License-Identifier: Apache-2.0
// The commands that answer with what is known at once: role, config, identity.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/identity/identity.h"
#include "tools/hotbackup/command.h"
#include "tools/hotbackup/command_log.h"
#include "tools/hotbackup/config_peer.h"

namespace hotbackup::cli {
namespace {

struct RoleOptions {
  std::string group;
  std::string is;
};

/// Asked by service conditions and address movers many times a second: opens nothing but the
/// configuration and the control file.
Result<int> role(const Session& session, const RoleOptions& options) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  HOTBACKUP_ASSIGN(const config::Group* settings, config::find_group(configuration, options.group));
  control::Role role = control::Role::kNone;
  auto group = control::Group::open(group_directory(configuration, settings->name));
  if (group)
    role = (*group)->role();
  else if (group.error().code() != ErrorCode::kNotFound)
    return fail(std::move(group).error().with_context("group " + settings->name));

  const std::string name(role_name(role));
  if (!options.is.empty()) return options.is == name ? kDone : kWrongState;
  if (session.json)
    std::printf("%s\n",
                nlohmann::ordered_json{{"group", settings->name}, {"role", name}}.dump().c_str());
  else
    std::printf("%s\n", name.c_str());
  return kDone;
}

Result<int> show_config(const Session& session, bool peer) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  if (peer) return compare_configurations(session, configuration);
  for (const std::string& warning : configuration.warnings)
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  if (session.json)
    std::printf("%s\n", config::to_json(configuration).dump(2).c_str());
  else
    std::printf("%s", config::describe(configuration).c_str());
  return kDone;
}

struct IdentityOptions {
  bool next = false;
  bool use_next = false;
};

Result<int> show_identity(const Session& session, const IdentityOptions& options) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  const config::Node& node = configuration.node;
  HOTBACKUP_ASSIGN(identity::Identity own, identity::load_or_create(node.state));
  if (options.next) {
    HOTBACKUP_ASSIGN(own.fingerprint, identity::prepare_next_key(node.state));
  } else if (options.use_next) {
    auto used = identity::use_next_key(node.state);
    if (!used && used.error().code() == ErrorCode::kNotFound)
      return fail(ErrorCode::kFenced, "no key is prepared: type hotbackup identity --next first");
    if (!used) return fail(std::move(used).error());
    own = std::move(*used);
    HOTBACKUP_TRY(log_command(session, node.state));
  }
  if (session.json)
    std::printf("%s\n", nlohmann::ordered_json{{"node", node.name},
                                               {"node_id", own.node_id.value},
                                               {"fingerprint", own.fingerprint}}
                            .dump()
                            .c_str());
  else
    std::printf("%s\n", own.fingerprint.c_str());
  return kDone;
}

}  // namespace

void add_role(CLI::App& app, Session& session) {
  auto* command =
      app.add_subcommand("role", "Prints a group's role here: master, slave, fenced, none");
  auto options = std::make_shared<RoleOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("--is", options->is, "prints nothing; exit 0 if this is the role, else 3")
      ->type_name("ROLE")
      ->check(CLI::IsMember({"master", "slave", "fenced", "none"}));
  command->callback([&session, options] {
    session.action = [&session, options] { return role(session, *options); };
  });
}

void add_config(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("config", "Prints what is in force, defaults included");
  auto peer = std::make_shared<bool>(false);
  command->add_flag("--peer", *peer,
                    "how the peers' groups are configured otherwise; exit 4 if so");
  command->callback([&session, peer] {
    session.action = [&session, peer] { return show_config(session, *peer); };
  });
}

void add_identity(CLI::App& app, Session& session) {
  auto* command =
      app.add_subcommand("identity", "Prints this node's fingerprint; makes its key if need be");
  auto options = std::make_shared<IdentityOptions>();
  auto* next = command->add_flag("--next", options->next,
                                 "makes the key that is to follow, and prints its fingerprint");
  command
      ->add_flag("--use-next", options->use_next,
                 "puts that key in place; the servers take it at their next reload")
      ->excludes(next);
  command->callback([&session, options] {
    session.action = [&session, options] { return show_identity(session, *options); };
  });
}

}  // namespace hotbackup::cli
