// SPDX-License-Identifier: Apache-2.0
// hotbackup forget: releases a dead slave's claim on the journal.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/retention/claims.h"
#include "tools/hotbackup/command_log.h"

namespace hotbackup::cli {
namespace {

struct ForgetOptions {
  std::string group;
  std::string node;
};

/// "GROUP NODE", or NODE alone where there is only one group.
void only_a_node(ForgetOptions& options) {
  if (options.node.empty()) options.node = std::exchange(options.group, {});
}

/// A slave that streams needs no forgetting, and a seed would be for nothing.
Result<> check_dead(control::Group& group, const config::Group& settings, const std::string& node) {
  const control::PeerEntry* peer = group.peer(node);
  const auto streaming = static_cast<std::uint32_t>(control::LinkState::kStreaming);
  if (peer == nullptr || peer->link.load() != streaming) return {};
  if (!group.server_alive(control::Group::Server::kMaster)) return {};
  const WallTime heard{std::chrono::nanoseconds(peer->heard_ns.load())};
  if (wall_now() - heard > 3 * settings.check_period) return {};
  return fail(ErrorCode::kFenced, node + " is connected and follows group " + settings.name +
                                      ": stop hotbackup-slave there first");
}

Result<int> forget(const Session& session, ForgetOptions options) {
  only_a_node(options);
  HOTBACKUP_ASSIGN(const auto opened, open_group(session, options.group));
  control::Group& group = *opened->group;
  const config::Group& settings = *opened->settings;
  if (group.role() != control::Role::kMaster)
    return fail(ErrorCode::kFenced, "group " + settings.name + " is " +
                                        std::string(role_name(group.role())) +
                                        " here: a slave is forgotten on its master");
  const auto claim = retention::claim_of(group, options.node);
  const bool known = claim || std::ranges::count(settings.peers, options.node) != 0;
  if (!known)
    return fail(ErrorCode::kConfig,
                "group " + settings.name + " has no peer '" + options.node + "'");
  HOTBACKUP_TRY(check_dead(group, settings, options.node));
  const bool held = claim && claim->holds();
  if (held) {
    HOTBACKUP_TRY(log_command(session, group.directory()));
    HOTBACKUP_TRY(retention::forget(group, options.node));
  }
  group.incidents().clear("HB-slave-forgotten", options.node);
  const std::uint64_t after = held ? claim->holds()->value : 0;
  if (session.json)
    std::printf(
        "%s\n",
        nlohmann::ordered_json{
            {"group", settings.name}, {"node", options.node}, {"released", held}, {"had", after}}
            .dump()
            .c_str());
  else if (held)
    std::printf(
        "%s  %s is forgotten: the journal after update %s is not kept for it, and it needs "
        "a seed\n",
        settings.name.c_str(), options.node.c_str(), human_count(after).c_str());
  else
    std::printf("%s  %s had no claim on the journal; it needs a seed\n", settings.name.c_str(),
                options.node.c_str());
  return kDone;
}

}  // namespace

void add_forget(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "forget", "Releases a dead slave's claim on the journal; it needs a seed afterwards");
  auto options = std::make_shared<ForgetOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one")
      ->required();
  command->add_option("NODE", options->node, "the slave's name");
  command->callback([&session, options] {
    session.action = [&session, options] { return forget(session, *options); };
  });
}

}  // namespace hotbackup::cli
