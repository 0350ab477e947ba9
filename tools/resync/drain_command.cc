// SPDX-License-Identifier: Apache-2.0
// hotbackup drain and seed: waiting until a slave has everything, with progress.
#include <algorithm>
#include <cstdio>

#include "common/config/quantity.h"
#include "tools/resync/command.h"
#include "tools/resync/container.h"
#include "tools/resync/peers_wait.h"
#include "tools/resync/progress.h"

namespace hotbackup::resync {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct WaitOptions {
  std::string group;
  std::string timeout = "off";
  std::string to;
};

Result<std::optional<milliseconds>> parse_limit(const std::string& text) {
  if (text == "off") return std::optional<milliseconds>();
  const bool plain = text.find_first_not_of("0123456789.") == std::string::npos;
  auto parsed = config::parse_duration(plain ? text + " s" : text);
  if (!parsed) return fail(std::move(parsed).error().with_context("--timeout"));
  return std::optional<milliseconds>(*parsed);
}

/// What the slowest of these peers has for sure; on a slave, what its copies show.
std::uint64_t has(control::Group& group, const std::vector<std::string>& peers) {
  if (group.role() != control::Role::kMaster) return group.layout().applied.load();
  std::uint64_t least = ~std::uint64_t{0};
  for (const std::string& name : peers)
    if (const control::PeerEntry* peer = group.peer(name))
      least = std::min(least, peer->seeded.load() != 0 ? peer->journaled.load() : 0);
  return least;
}

std::uint64_t wanted(control::Group& group) {
  return group.role() == control::Role::kMaster ? group.made().value : group.synced().value;
}

}  // namespace

Result<std::uint64_t> wait_for_peers(control::Group& group, const std::vector<std::string>& peers,
                                     std::optional<milliseconds> limit, const std::string& what) {
  const auto start = steady_clock::now();
  const std::uint64_t base = has(group, peers);
  Progress progress(what + " " + group.layout().group_name,
                    wanted(group) - std::min(base, wanted(group)), "updates");
  for (;;) {
    const std::uint32_t ticket = group.layout().acknowledged_wake.load();
    const std::uint64_t through = wanted(group);
    const std::uint64_t reached = has(group, peers);
    if (reached >= through) return through;
    if (limit && steady_clock::now() - start >= *limit)
      return fail(ErrorCode::kTimeout, "group " + std::string(group.layout().group_name) + ": " +
                                           human_count(through - reached) +
                                           " updates are still in the queue (" +
                                           human_count(reached) + " of " + human_count(through) +
                                           "): see hotbackup why " + group.layout().group_name);
    progress.at(reached - std::min(base, reached), 0);
    os::futex_wait(group.layout().acknowledged_wake, ticket, milliseconds(200));
  }
}

namespace {

Result<int> drain(const Session& session, const WaitOptions& options) {
  HOTBACKUP_ASSIGN(const auto limit, parse_limit(options.timeout));
  HOTBACKUP_ASSIGN(const auto opened, cli::open_group(session, options.group));
  const auto& peers = opened->settings->peers;
  if (opened->group->role() == control::Role::kMaster && peers.empty())
    return fail(ErrorCode::kFenced, "group " + opened->settings->name + " has no peer to drain to");
  const auto start = steady_clock::now();
  HOTBACKUP_ASSIGN(const std::uint64_t number,
                   wait_for_peers(*opened->group, peers, limit, "draining"));
  const auto waited = steady_clock::now() - start;
  if (session.json)
    std::printf("%s\n",
                Json{{"group", opened->settings->name},
                     {"number", number},
                     {"queue_updates", 0},
                     {"waited_ms", std::chrono::duration_cast<milliseconds>(waited).count()}}
                    .dump()
                    .c_str());
  else
    std::printf("%s  the queue is empty: everything through update %s has arrived (waited %s)\n",
                opened->settings->name.c_str(), human_count(number).c_str(),
                human_duration(waited).c_str());
  return cli::kDone;
}

/// The servers seed a slave without a copy as soon as it answers; this says so and waits for it.
Result<int> seed(const Session& session, const WaitOptions& options) {
  HOTBACKUP_ASSIGN(const auto limit, parse_limit(options.timeout));
  HOTBACKUP_ASSIGN(const auto opened, cli::open_group(session, options.group));
  control::Group& group = *opened->group;
  const std::string& name = opened->settings->name;
  if (group.role() != control::Role::kMaster)
    return fail(ErrorCode::kFenced, "group " + name + " is " +
                                        std::string(cli::role_name(group.role())) +
                                        " here: type hotbackup seed on its master");
  std::vector<std::string> peers = opened->settings->peers;
  if (!options.to.empty()) {
    if (std::find(peers.begin(), peers.end(), options.to) == peers.end())
      return fail(ErrorCode::kConfig, "group " + name + " has no peer " + options.to);
    peers = {options.to};
  }
  if (peers.empty()) return fail(ErrorCode::kFenced, "group " + name + " has no peer to seed");
  for (const std::string& peer : peers) {
    const control::PeerEntry* entry = group.peer(peer);
    if (entry != nullptr && entry->seeded.load() != 0 && entry->journaled.load() != 0)
      return fail(ErrorCode::kFenced,
                  peer + " has a copy through update " + human_count(entry->journaled.load()) +
                      ": nothing is seeded over it. To have it made anew, type on " + peer +
                      ": hotbackup init " + name + " --role slave --replace");
  }
  if (!group.server_alive(control::Group::Server::kMaster))
    return fail(ErrorCode::kFenced, "hotbackup-master does not run here: start it, it seeds");
  HOTBACKUP_ASSIGN(const std::uint64_t number, wait_for_peers(group, peers, limit, "seeding"));
  if (session.json)
    std::printf("%s\n", Json{{"group", name}, {"peers", peers}, {"number", number}}.dump().c_str());
  else
    std::printf("%s  seeded: everything through update %s has arrived\n", name.c_str(),
                human_count(number).c_str());
  return cli::kDone;
}

}  // namespace

void add_drain(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("drain", "Waits until the queue is empty");
  auto options = std::make_shared<WaitOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("--timeout", options->timeout,
                      "gives up then with exit 5: \"10 s\", \"3 min\", or seconds");
  command->callback([&session, options] {
    session.action = [&session, options] { return drain(session, *options); };
  });
}

void add_seed(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "seed", "Waits until a slave without a copy has one, and everything since");
  auto options = std::make_shared<WaitOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("--to", options->to, "this peer (default: all)")->type_name("NODE");
  command->add_option("--timeout", options->timeout,
                      "gives up then with exit 5: \"10 s\", \"3 min\", or seconds");
  command->callback([&session, options] {
    session.action = [&session, options] { return seed(session, *options); };
  });
}

}  // namespace hotbackup::resync
