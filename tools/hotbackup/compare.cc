// SPDX-License-Identifier: Apache-2.0
// hotbackup compare: whether every copy is what the master has, at one number, and where not.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/base/bytes.h"
#include "common/service/server.h"
#include "tools/compare/comparison.h"
#include "tools/compare/remote_side.h"
#include "tools/hotbackup/command_log.h"

namespace hotbackup::cli {
namespace {

using compare::Comparison;
using compare::Difference;
using compare::Outcome;
using nlohmann::ordered_json;
using std::chrono::steady_clock;

constexpr std::size_t kShownMax = 1000;  // differences for a person; --json has all

struct CompareOptions {
  std::string group;
  bool repair = false;
  std::string report;
};

struct Done {
  std::string node;  // whose copy
  Outcome outcome;
  std::size_t repaired = 0;
  double seconds = 0;
};

std::string place_of(const Difference& one) {
  std::string text = "environment " + one.environment + ", " +
                     (one.main ? "main database" : "database " + printable(one.database));
  if (!one.key.empty()) text += ", key " + printable(one.key);
  return text;
}

ordered_json to_json(const std::string& node, const Difference& one) {
  return {{"node", node},
          {"environment", one.environment},
          {"database", one.main ? ordered_json(nullptr) : ordered_json(printable(one.database))},
          {"key", one.key.empty() ? ordered_json(nullptr) : ordered_json(printable(one.key))},
          {"difference", std::string(compare::what_name(one.what))}};
}

void show_progress(const Outcome& so_far, steady_clock::time_point begun) {
  if (::isatty(STDERR_FILENO) == 0) return;
  const double seconds = std::chrono::duration<double>(steady_clock::now() - begun).count();
  std::fprintf(stderr, "\r\033[K%s databases, %s items, %s, %s/s",
               human_count(so_far.databases).c_str(), human_count(so_far.items).c_str(),
               human_bytes(so_far.bytes).c_str(),
               human_bytes(static_cast<std::uint64_t>(static_cast<double>(so_far.bytes) /
                                                      std::max(seconds, 0.001)))
                   .c_str());
}

Result<Done> compare_with(const roles::Here& here, const std::string& peer, bool repair,
                          bool only_copy) {
  const bool master_here = here.group.role() == control::Role::kMaster;
  HOTBACKUP_ASSIGN(const auto remote, compare::RemoteSide::open(here, peer));
  compare::LocalSide local(here.group, here.settings);
  const auto begun = steady_clock::now();
  Comparison comparison(master_here ? static_cast<compare::Side&>(local) : *remote,
                        master_here ? static_cast<compare::Side&>(*remote) : local, {},
                        [begun](const Outcome& so_far) { show_progress(so_far, begun); });
  Done done{master_here ? peer : here.node(), {}, 0, 0};
  auto found = comparison.run();
  if (found && repair && !found->differences.empty()) {
    const std::vector<Difference> wrong = std::move(found->differences);
    if (auto repaired = comparison.repair(wrong); !repaired) {
      comparison.release();
      return fail(std::move(repaired).error());
    }
    done.repaired = wrong.size();
    found = comparison.run();
  }
  if (::isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);
  if (!found) {
    comparison.release();
    return fail(std::move(found).error());
  }
  HOTBACKUP_TRY(comparison.conclude(*found, done.node, only_copy));
  done.outcome = std::move(*found);
  done.seconds = std::chrono::duration<double>(steady_clock::now() - begun).count();
  return done;
}

void print(const std::string& group, const Done& done) {
  const Outcome& outcome = done.outcome;
  const std::string where = group + "  " + done.node;
  if (done.repaired != 0)
    std::printf("%s  %s repaired\n", where.c_str(),
                (human_count(done.repaired) + (done.repaired == 1 ? " difference" : " differences"))
                    .c_str());
  std::size_t shown = 0;
  for (const Difference& one : outcome.differences) {
    if (shown++ == kShownMax) break;
    std::printf("%s  %s: %s\n", where.c_str(), place_of(one).c_str(),
                std::string(compare::what_name(one.what)).c_str());
  }
  if (outcome.differences.size() > kShownMax)
    std::printf("%s  … and %s more (--json lists all)\n", where.c_str(),
                human_count(outcome.differences.size() - kShownMax).c_str());
  const std::string verdict =
      outcome.differences.empty()
          ? "EQUAL"
          : "DIFFERS: " + human_count(outcome.differences.size()) +
                (outcome.differences.size() == 1 ? " difference" : " differences");
  std::printf("%s  %s at update %s (%s databases, %s items, %s; %s items local) in %.1f s\n",
              where.c_str(), verdict.c_str(), human_count(outcome.number.value).c_str(),
              human_count(outcome.databases).c_str(), human_count(outcome.items).c_str(),
              human_bytes(outcome.bytes).c_str(), human_count(outcome.local).c_str(), done.seconds);
  if (!outcome.differences.empty() && done.repaired == 0)
    std::printf("%s  next: hotbackup compare %s --repair\n", where.c_str(), group.c_str());
}

void print_json(const std::string& group, const std::vector<Done>& all) {
  ordered_json copies = ordered_json::array();
  ordered_json differences = ordered_json::array();
  for (const Done& done : all) {
    const Outcome& outcome = done.outcome;
    for (const Difference& one : outcome.differences)
      differences.push_back(to_json(done.node, one));
    copies.push_back({{"node", done.node},
                      {"equal", outcome.differences.empty()},
                      {"number", outcome.number.value},
                      {"snapshots", outcome.snapshots},
                      {"databases", outcome.databases},
                      {"items", outcome.items},
                      {"bytes", outcome.bytes},
                      {"local_items", outcome.local},
                      {"repaired", done.repaired},
                      {"seconds", done.seconds}});
  }
  const ordered_json report{{"group", group},
                            {"equal", differences.empty()},
                            {"differences", differences},
                            {"copies", copies}};
  std::printf("%s\n", report.dump().c_str());
}

/// The first line that differs, of both.
std::string first_difference(const std::string& master, const std::string& slave) {
  std::size_t line = 0;
  std::size_t at = 0;
  while (at < master.size() && at < slave.size() && master[at] == slave[at])
    line = master[at++] == '\n' ? at : line;
  const auto from = [line](const std::string& text) {
    return text.substr(line, std::min<std::size_t>(text.find('\n', line) - line, 200));
  };
  return "master: " + printable(from(master)) + ", slave: " + printable(from(slave));
}

Result<bool> report_with(const Session& session, const roles::Here& here, const std::string& peer,
                         const std::string& name) {
  const bool master_here = here.group.role() == control::Role::kMaster;
  HOTBACKUP_ASSIGN(const auto remote, compare::RemoteSide::open(here, peer));
  compare::LocalSide local(here.group, here.settings);
  Comparison comparison(master_here ? static_cast<compare::Side&>(local) : *remote,
                        master_here ? static_cast<compare::Side&>(*remote) : local);
  auto both = comparison.report(name);
  if (!both) {
    comparison.release();
    return fail(std::move(both).error());
  }
  const bool equal = both->master == both->slave;
  const std::string node = master_here ? peer : here.node();
  const std::string difference = equal ? "" : first_difference(both->master, both->slave);
  if (session.json)
    std::printf("%s\n", ordered_json{{"group", here.settings.name},
                                     {"report", name},
                                     {"node", node},
                                     {"equal", equal},
                                     {"number", both->number.value},
                                     {"difference", difference}}
                            .dump()
                            .c_str());
  else
    std::printf("%s  %s  report %s %s at update %s%s\n", here.settings.name.c_str(), node.c_str(),
                name.c_str(), equal ? "EQUAL" : "DIFFERS", human_count(both->number.value).c_str(),
                equal ? "" : ("; " + difference).c_str());
  return equal;
}

Result<int> run_compare(const Session& session, const CompareOptions& options) {
  HOTBACKUP_ASSIGN(const auto opened, open_group(session, options.group));
  control::Group& group = *opened->group;
  const config::Group& settings = *opened->settings;
  const roles::Here here{opened->configuration, settings, group, service::program_version()};
  std::vector<std::string> peers = settings.peers;
  if (group.role() == control::Role::kSlave) {
    peers = {std::string(group.layout().master_name)};
    if (peers.front().empty())
      return fail(ErrorCode::kFenced, "no master of " + settings.name + " is known here yet");
  } else if (group.role() != control::Role::kMaster) {
    return fail(ErrorCode::kFenced, "group " + settings.name + " is " +
                                        std::string(role_name(group.role())) +
                                        " here: compare on its master or a slave");
  }
  if (peers.empty()) return fail(ErrorCode::kFenced, "group " + settings.name + " has no peer");
  if (options.repair) HOTBACKUP_TRY(log_command(session, group.directory()));
  std::vector<Done> all;
  bool equal = true;
  for (const std::string& peer : peers) {
    if (!options.report.empty()) {
      auto same = report_with(session, here, peer, options.report);
      if (!same) return fail(std::move(same).error().with_context("comparing with " + peer));
      equal = equal && *same;
      continue;
    }
    auto done = compare_with(here, peer, options.repair, settings.peers.size() == 1);
    if (!done) return fail(std::move(done).error().with_context("comparing with " + peer));
    equal = equal && done->outcome.differences.empty();
    if (!session.json) print(settings.name, *done);
    all.push_back(std::move(*done));
  }
  if (session.json && options.report.empty()) print_json(settings.name, all);
  return equal ? kDone : kFound;
}

Result<int> serve(const Session& session, const std::string& name) {
  HOTBACKUP_ASSIGN(const auto opened, open_group(session, name));
  HOTBACKUP_TRY(compare::serve_side(*opened->group, *opened->settings, STDIN_FILENO));
  return kDone;
}

}  // namespace

void add_compare(CLI::App& app, Session& session) {
  auto options = std::make_shared<CompareOptions>();
  auto* command = app.add_subcommand(
      "compare",
      "Whether the copies are what the master has, at one update number; lists what "
      "differs");
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_flag("--repair", options->repair, "fetches what differs from the master");
  command
      ->add_option("--report", options->report,
                   "runs the applications' own report of this name, [group.reports] on each node, "
                   "on both sides at one number and compares what they print")
      ->type_name("NAME")
      ->excludes("--repair");
  command->callback([&session, options] {
    session.action = [&session, options] { return run_compare(session, *options); };
  });
  // What a slave server starts for a comparison that runs on another node.
  auto* side = app.add_subcommand("compare-side", "")->group("");
  side->add_option("GROUP", options->group)->required();
  side->callback([&session, options] {
    session.action = [&session, options] { return serve(session, options->group); };
  });
}

}  // namespace hotbackup::cli
