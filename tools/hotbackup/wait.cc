// SPDX-License-Identifier: Apache-2.0
// hotbackup wait: until the slave, or this copy, has an update. Sleeps on the control file's futex;
// asks no server, and so goes on waiting while one is restarted.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/status/group_status.h"
#include "tools/hotbackup/command_line.h"

namespace hotbackup::cli {
namespace {

using namespace status;

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct WaitOptions {
  std::string group;
  std::optional<std::uint64_t> number;
  std::string level;
  std::string timeout;
};

/// What the group's slaves, as many as count, or this copy have by now.
std::uint64_t reached(control::Group& group, const config::Group& settings, bool applied) {
  if (group.role() != control::Role::kMaster)
    return applied ? group.layout().applied.load() : group.synced().value;
  const Reached peers = reached_by_peers(group, settings);
  return applied ? peers.applied : peers.journaled;
}

/// Everything so far: on a slave also what its master is known to have, and its first seed at
/// least.
std::uint64_t everything(control::Group& group, const config::Group& settings) {
  std::uint64_t number = group.made().value;
  if (group.role() == control::Role::kMaster) return number;
  for (const std::string& name : settings.peers)
    if (const control::PeerEntry* peer = group.peer(name))
      number = std::max(number, peer->published.load());
  return std::max<std::uint64_t>(number, 1);
}

Result<std::optional<milliseconds>> parse_timeout(const std::string& text) {
  if (text.empty() || text == "off") return std::optional<milliseconds>();
  if (text.find_first_not_of("0123456789.") == std::string::npos) {  // plain seconds
    if (std::strtod(text.c_str(), nullptr) == 0) return std::optional<milliseconds>(0);
    HOTBACKUP_ASSIGN(const milliseconds seconds, config::parse_duration(text + " s"));
    return std::optional<milliseconds>(seconds);
  }
  auto parsed = config::parse_duration(text);
  if (!parsed) return fail(std::move(parsed).error().with_context("--timeout"));
  return std::optional<milliseconds>(*parsed);
}

int report(const Session& session, const config::Group& settings, const std::string& level,
           std::uint64_t number, std::uint64_t has, milliseconds waited) {
  if (session.json) {
    std::printf("%s\n", nlohmann::ordered_json{{"group", settings.name},
                                               {"number", number},
                                               {"for", level},
                                               {"reached", has},
                                               {"done", has >= number},
                                               {"waited_ms", waited.count()}}
                            .dump()
                            .c_str());
  } else if (has >= number) {
    std::printf("%s  %s through %s (waited %s)\n", settings.name.c_str(), level.c_str(),
                human_count(number).c_str(), human_duration(waited).c_str());
  }
  return kDone;
}

/// "wait 42" where there is only one group: the word is the number, unless a group is called so.
Result<> take_number(const Session& session, WaitOptions& options) {
  if (options.number || options.group.empty() ||
      options.group.find_first_not_of("-0123456789") != std::string::npos)
    return {};
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  if (config::find_group(configuration, options.group)) return {};
  HOTBACKUP_ASSIGN(options.number, parse_number(options.group));
  options.group.clear();
  return {};
}

Result<int> wait(const Session& session, WaitOptions options) {
  HOTBACKUP_ASSIGN(const auto timeout, parse_timeout(options.timeout));
  HOTBACKUP_TRY(take_number(session, options));
  HOTBACKUP_ASSIGN(const auto opened, open_group(session, options.group));
  control::Group& group = *opened->group;
  const config::Group& settings = *opened->settings;
  const bool master = group.role() == control::Role::kMaster;
  if (master && settings.peers.empty())
    return fail(ErrorCode::kFenced, "group " + settings.name +
                                        " has no peer to wait for: add one to the configuration");
  const std::string level = !options.level.empty() ? options.level
                            : master               ? "journaled"
                                                   : "applied";
  const std::uint64_t number = options.number.value_or(everything(group, settings));

  const auto start = steady_clock::now();
  for (;;) {
    control::Layout& layout = group.layout();
    const std::uint32_t ticket = layout.acknowledged_wake.load();
    const std::uint64_t has = reached(group, settings, level == "applied");
    const auto waited = std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
    if (has >= number) return report(session, settings, level, number, has, waited);
    if (timeout && waited >= *timeout) {
      if (session.json) (void)report(session, settings, level, number, has, waited);
      return fail(ErrorCode::kTimeout, "group " + settings.name + " has update " +
                                           std::to_string(has) + " " + level + ", not " +
                                           std::to_string(number) + ": see hotbackup status " +
                                           settings.name);
    }
    milliseconds slice(1000);
    if (timeout) slice = std::min(slice, *timeout - waited);
    os::futex_wait(layout.acknowledged_wake, ticket, slice);
  }
}

}  // namespace

void add_wait(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "wait", "Waits until the slave (or this copy) has update N, or everything so far");
  auto options = std::make_shared<WaitOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("N", options->number, "update number; everything so far if left out")
      ->transform(update_number());
  command
      ->add_option("--for", options->level,
                   "journaled: safe on the slave's disk; applied: visible in its copy. Default: "
                   "journaled on a master, applied on a slave")
      ->check(CLI::IsMember({"journaled", "applied"}));
  command->add_option("--timeout", options->timeout,
                      "gives up then with exit 5: \"10 s\", \"3 min\", or seconds");
  command->callback([&session, options] {
    session.action = [&session, options] { return wait(session, *options); };
  });
}

}  // namespace hotbackup::cli
