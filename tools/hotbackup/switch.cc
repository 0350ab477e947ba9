// SPDX-License-Identifier: Apache-2.0
// hotbackup switch: a planned change of roles, from either side. docs/operating/roles.md.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/roles/loss.h"
#include "common/roles/switch_over.h"
#include "tools/hotbackup/command_log.h"

namespace hotbackup::cli {
namespace {

using control::Role;
using roles::Here;
using std::chrono::milliseconds;

constexpr milliseconds kReachLimit{5000};
constexpr milliseconds kSwitchLimit{180'000};

struct SwitchOptions {
  std::string group;
  std::string to;
  bool compare = false;
  bool dry_run = false;
};

std::string status_hint(const Here& here) {
  return ": see hotbackup status " + here.settings.name;
}

/// This node takes over: its master is asked to hand over.
Result<roles::Switched> ask_master(const Here& here, bool compare) {
  const std::string master(here.group.layout().master_name);
  if (here.group.role() != Role::kSlave || master.empty())
    return fail(ErrorCode::kFenced, here.node() + " is " +
                                        std::string(role_name(here.group.role())) +
                                        " and follows no master" + status_hint(here));
  auto link = roles::PeerLink::open(here, master, kReachLimit);
  if (!link)
    return fail(ErrorCode::kFenced, master + " cannot be reached: " + link.error().text() +
                                        ". If it is gone, type hotbackup promote " +
                                        here.settings.name);
  wire::Ask ask;
  ask.kind = wire::Ask::Kind::kSwitch;
  ask.compare = compare;
  HOTBACKUP_ASSIGN(const auto answer, (*link)->ask(ask, kSwitchLimit));
  if (answer.report.empty())
    return fail(answer.exit == kGaveUp ? ErrorCode::kTimeout : ErrorCode::kFenced, answer.text);
  roles::Switched switched;
  switched.epoch = here.group.epoch();
  switched.number = here.group.made();
  switched.pause_ms = static_cast<double>(answer.hash) / 1000;
  switched.steps = roles::steps_from_json(answer.report);
  switched.needs_you = answer.text;
  return switched;
}

Result<> check_target(const Here& here, const std::string& to) {
  const bool master_here = here.group.role() == Role::kMaster;
  const std::string master =
      master_here ? here.node() : std::string(here.group.layout().master_name);
  if (to == master)
    return fail(ErrorCode::kFenced,
                to + " is master of " + here.settings.name + " already" + status_hint(here));
  if (to == here.node()) return {};
  const auto& peers = here.settings.peers;
  if (std::find(peers.begin(), peers.end(), to) == peers.end())
    return fail(ErrorCode::kConfig, to + " is not a peer of group " + here.settings.name);
  if (!master_here)
    return fail(ErrorCode::kFenced, here.node() + " is not master of " + here.settings.name +
                                        ": type it on " + master + " or on " + to);
  return {};
}

/// --dry-run: whether it can be reached and what is left to send; how long it takes follows from
/// it.
Result<int> tell_only(const Session& session, const Here& here, const std::string& to) {
  const std::string other = to == here.node() ? std::string(here.group.layout().master_name) : to;
  auto link = roles::PeerLink::open(here, other, kReachLimit);
  if (!link) return fail(ErrorCode::kFenced, other + " cannot be reached: " + link.error().text());
  HOTBACKUP_ASSIGN(const auto answer, (*link)->ask({}, kReachLimit));
  if (answer.exit != 0) return fail(ErrorCode::kFenced, answer.text);
  const std::uint64_t here_at = here.group.made().value;
  const std::uint64_t there_at = answer.journaled.number.value;
  const std::uint64_t behind = here_at > there_at ? here_at - there_at : there_at - here_at;
  if (session.json)
    std::printf("%s\n", nlohmann::ordered_json{{"group", here.settings.name},
                                               {"to", to},
                                               {"dry_run", true},
                                               {"updates_to_send", behind},
                                               {"lost", "nothing"},
                                               {"steps", nlohmann::ordered_json::array()}}
                            .dump()
                            .c_str());
  else
    std::printf("%s  would be handed over to %s: %s updates to send, nothing lost\n",
                here.settings.name.c_str(), to.c_str(), human_count(behind).c_str());
  return kDone;
}

Result<int> switch_roles(const Session& session, const SwitchOptions& options) {
  HOTBACKUP_ASSIGN(const auto opened, open_group(session, options.group));
  const Here here{opened->configuration, *opened->settings, *opened->group,
                  "hotbackup " HOTBACKUP_VERSION};
  HOTBACKUP_TRY(check_target(here, options.to));
  if (options.dry_run) return tell_only(session, here, options.to);
  HOTBACKUP_TRY(log_command(session, here.group.directory()));
  HOTBACKUP_ASSIGN(const roles::Switched done,
                   options.to == here.node()
                       ? ask_master(here, options.compare)
                       : roles::switch_over(here, options.to, options.compare));
  if (session.json) {
    std::printf(
        "%s\n",
        nlohmann::ordered_json{{"group", here.settings.name},
                               {"master", options.to},
                               {"epoch", done.epoch.counter},
                               {"number", done.number.value},
                               {"lost", "nothing"},
                               {"lost_updates", 0},
                               {"pause_ms", done.pause_ms},
                               {"steps", nlohmann::ordered_json::parse(roles::to_json(done.steps))},
                               {"hook_failed", done.needs_you}}
            .dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)
            .c_str());
  } else {
    std::printf("%s  MASTER %s  epoch %llu  switched at update %s\n", here.settings.name.c_str(),
                options.to.c_str(), static_cast<unsigned long long>(done.epoch.counter),
                human_count(done.number.value).c_str());
    std::printf("  lost       nothing\n  pause      %.1f ms\n", done.pause_ms);
    for (const roles::Step& step : done.steps)
      std::printf("  %7.1f ms %s\n", step.milliseconds, step.name.c_str());
  }
  if (done.needs_you.empty()) return kDone;
  std::fprintf(stderr, "hotbackup: HB-hook-failed: %s\n", done.needs_you.c_str());
  return kNeedsYou;
}

}  // namespace

void add_switch(CLI::App& app, Session& session) {
  auto* command =
      app.add_subcommand("switch", "Hands a group over to another node, losing nothing");
  auto options = std::make_shared<SwitchOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("--to", options->to, "the node that is to be master")
      ->type_name("NODE")
      ->required();
  command->add_flag("--compare", options->compare,
                    "compares the contents, too, while writers wait");
  command->add_flag("--dry-run", options->dry_run, "says what would be done, and changes nothing");
  command->callback([&session, options] {
    session.action = [&session, options] { return switch_roles(session, *options); };
  });
}

}  // namespace hotbackup::cli
