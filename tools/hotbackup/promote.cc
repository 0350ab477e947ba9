// SPDX-License-Identifier: Apache-2.0
// hotbackup promote: this node becomes master although the old one was not asked, or could not be.
// What may be lost is said before and after. docs/operating/roles.md.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "common/control/apply_decisions.h"
#include "common/journal/point.h"
#include "common/os/process.h"
#include "common/roles/loss.h"
#include "tools/hotbackup/command_line.h"
#include "tools/hotbackup/command_log.h"
#include "tools/hotbackup/orphans.h"

namespace hotbackup::cli {
namespace {

using control::Role;
using roles::Here;
using std::chrono::milliseconds;

// A machine that is gone does not answer at all: this is what its loss costs before anything else.
constexpr milliseconds kAskLimit{1000};

struct PromoteOptions {
  std::string group;
  std::string from;
  bool dry_run = false;
  bool if_safe = false;
  bool force = false;
  bool yes = false;
  std::string until;
  std::optional<std::uint64_t> without;
};

struct Found {
  std::vector<roles::PeerAnswer> peers;
  roles::Known known;
  roles::Loss loss;
};

Role role_of(const wire::Answer& answer) {
  return static_cast<Role>(answer.role);
}

/// The group's master is heard over its own link, whether or not it answers questions.
bool master_streams(const Here& here) {
  const control::PeerEntry* master = here.group.peer(here.group.layout().master_name);
  if (master == nullptr || !here.group.server_alive(control::Group::Server::kSlave)) return false;
  const auto heard = WallTime(std::chrono::nanoseconds(master->heard_ns.load()));
  return master->link.load() == static_cast<std::uint32_t>(control::LinkState::kStreaming) &&
         wall_now() - heard < 3 * here.settings.check_period;
}

Result<> refuse_if_needless(const Here& here, const Found& found) {
  const std::string& name = here.settings.name;
  const std::string master(here.group.layout().master_name);
  const std::string hint = ": type hotbackup switch " + name + " --to " + here.node();
  for (const auto& [peer, answer] : found.peers) {
    if (!answer || answer->exit != 0) continue;
    if (role_of(*answer) == Role::kMaster &&
        answer->known.counter >= here.group.known_epoch().counter)
      return fail(ErrorCode::kFenced, peer + " answers, and is master of " + name + hint);
  }
  if (master_streams(here))
    return fail(ErrorCode::kFenced, master + " is master of " + name + " and is heard" + hint);
  for (const auto& [peer, answer] : found.peers)
    if (answer && answer->exit == 0 && role_of(*answer) == Role::kSlave &&
        answer->journaled.number > here.group.made())
      return fail(ErrorCode::kFenced,
                  peer + " has update " + std::to_string(answer->journaled.number.value) +
                      ", this node only " + std::to_string(here.group.made().value) +
                      ": type hotbackup promote " + name + " on " + peer);
  return {};
}

Found look(const Here& here) {
  Found found;
  found.peers = roles::survey(here, kAskLimit);
  roles::Known& known = found.known;
  known.journaled = here.group.made();
  known.master_had = known.journaled;
  known.last_here = roles::commit_time(here.group, known.journaled);
  const std::string master(here.group.layout().master_name);
  if (const control::PeerEntry* entry = here.group.peer(master)) {
    known.master_had = std::max(known.master_had, UpdateNumber(entry->published.load()));
    if (const auto ns = entry->heard_ns.load(); ns != 0)
      known.heard = WallTime(std::chrono::nanoseconds(ns));
  }
  for (const auto& [peer, answer] : found.peers) {
    if (!answer || answer->exit != 0 || peer != master) continue;
    known.master_had = std::max(known.master_had, answer->journaled.number);
    known.heard = wall_now();
    known.exact = role_of(*answer) != Role::kMaster;  // it takes no writes any more
  }
  found.loss = roles::loss_of(known);
  return found;
}

/// --if-safe: until the old master has closed its own gate for certain.
Result<> require_lease(const Here& here) {
  if (here.settings.lease) return {};
  return fail(ErrorCode::kFenced, "no lease is configured for " + here.settings.name +
                                      ", so the old master may still take writes: leave "
                                      "--if-safe out, or configure one on every node");
}

/// From when no master is answered any more: before, one might be heard again.
void wait_out_lease(const Here& here) {
  const auto lease = here.settings.lease;
  const control::PeerEntry* master = here.group.peer(here.group.layout().master_name);
  const std::int64_t now = os::boottime_ns();
  // After a reboot of this node the last message is not known: it was before now.
  const std::int64_t heard =
      master == nullptr || master->heard_boot_ns.load() == 0 ? now : master->heard_boot_ns.load();
  // Clocks of two machines may differ by a thousandth; a tenth covers that and slow timers.
  const auto margin = *lease / 10 + milliseconds(100);
  const std::int64_t until = heard + std::chrono::nanoseconds(*lease + margin).count();
  while (os::boottime_ns() < until)
    std::this_thread::sleep_for(
        std::min(milliseconds(50), milliseconds((until - os::boottime_ns()) / 1'000'000 + 1)));
}

/// Where the group's history goes on from, when that is not everything that is here.
struct Cut {
  UpdateNumber last;
  UpdateNumber journaled;               // what comes between is kept as orphans …
  std::optional<UpdateNumber> without;  // … or is made new updates again, but for this one

  std::string text() const {
    if (without) return "update " + std::to_string(without->value) + " is left out";
    return std::to_string(journaled.value - last.value) + " updates after " +
           human_count(last.value) + " are left out";
  }
};

/// --until and --without. Nothing when all counts.
Result<std::optional<Cut>> find_cut(const Here& here, const PromoteOptions& options) {
  control::Group& group = here.group;
  Cut cut{{}, group.made(), {}};
  if (!options.until.empty()) {
    if (options.without) return fail(ErrorCode::kConfig, "either --until or --without, not both");
    HOTBACKUP_ASSIGN(const auto point, journal::parse_point(options.until));
    auto found = journal::find_point(group.journal_directory(), group.id(), point, cut.journaled);
    if (!found && found.error().code() == ErrorCode::kNotFound)
      return fail(ErrorCode::kFenced, std::move(found).error().text());
    if (!found) return fail(std::move(found).error());
    cut.last = *found;
  } else if (options.without) {
    cut.without = UpdateNumber(*options.without);
    if (cut.without->value < 2 || *cut.without > cut.journaled)
      return fail(ErrorCode::kFenced, "update " + std::to_string(cut.without->value) +
                                          " is not here: the last is " +
                                          std::to_string(cut.journaled.value));
    cut.last = cut.without->previous();
  }
  if (cut.last.value == 0 || cut.last == cut.journaled) return std::nullopt;
  const std::uint64_t applied = group.layout().applied.load();
  if (applied > cut.last.value)
    return fail(ErrorCode::kFenced, "the copies show update " + std::to_string(applied) +
                                        " already, that is update " +
                                        std::to_string(cut.last.value) + ": they do not go back");
  return cut;
}

Result<> confirm(const Here& here, const Found& found, const std::optional<Cut>& cut,
                 const PromoteOptions& options) {
  if (options.yes) return {};
  const std::string what = "promote " + here.node() + " to master of " + here.settings.name +
                           ", losing " + found.loss.text + (cut ? "; " + cut->text() : "");
  if (::isatty(STDIN_FILENO) == 0)
    return fail(ErrorCode::kConfig, "would " + what + ": say --yes to do it without a question");
  std::fprintf(stderr, "%s? [y/N] ", what.c_str());
  std::string line;
  std::getline(std::cin, line);
  if (line == "y" || line == "Y" || line == "yes") return {};
  return fail(ErrorCode::kCancelled, "not promoted");
}

struct Done {
  Epoch epoch;
  UpdateNumber number;
  std::string hook;  // what failed
};

/// The old master has everything through `number`, which came from it; a slave what it says, where
/// that is this history.
Result<> claim_for_peers(const Here& here, roles::Change& change, const Found& found,
                         const std::string& old_master, UpdateNumber number) {
  for (const auto& [peer, answer] : found.peers) {
    UpdateNumber has;
    if (peer == old_master) has = number;
    if (answer && answer->exit == 0 && peer != old_master && answer->journaled.number <= number) {
      const auto at = journal::position_at(here.group.journal_directory(), here.group.id(),
                                           answer->journaled.number);
      if (at && at->chain == answer->journaled.chain) has = answer->journaled.number;
    }
    HOTBACKUP_TRY(change.claim_for(peer, has));
  }
  return {};
}

Result<Done> carry_out(const Here& here, const Found& found, bool if_safe,
                       const std::optional<Cut>& cut, roles::Steps& steps) {
  control::Group& group = here.group;
  const Epoch before = group.known_epoch();
  const std::string old_master(group.layout().master_name);
  HOTBACKUP_ASSIGN(const auto change, roles::Change::begin(here));
  const auto hook =
      roles::run_hook(here, here.settings.before_promote, "slave", before, old_master);
  if (!hook) return fail(ErrorCode::kFenced, "before_promote stops it: " + hook.error().text());
  if (!here.settings.before_promote.empty()) steps.done("before_promote");
  Done done;
  HOTBACKUP_ASSIGN(done.epoch, group.begin_epoch());
  const auto work = [&]() -> Result<> {
    HOTBACKUP_TRY(change->refuse_calls());
    steps.done("older epochs are refused");
    if (if_safe) {
      wait_out_lease(here);
      steps.done("the lease has run out");
    }
    if (cut)
      HOTBACKUP_TRY(change->apply_no_further(cut->last));
    else
      HOTBACKUP_TRY(change->apply_everything());
    steps.done(cut ? "applied through " + human_count(cut->last.value) : "everything is applied");
    HOTBACKUP_TRY(change->let_go());
    steps.done("slave server has let go");
    if (cut) {
      HOTBACKUP_TRY(change->cut_after(cut->last, old_master));
      steps.done("what comes after is kept as orphans");
    }
    done.number = group.made();
    HOTBACKUP_TRY(change->write_epoch(done.epoch));
    HOTBACKUP_TRY(claim_for_peers(here, *change, found, old_master, done.number));
    steps.done("epoch and baselines are in the journal");
    return group.become_master(done.epoch);
  };
  if (const auto worked = work(); !worked) {
    (void)group.forget_epoch(before, old_master);
    return fail(worked.error());
  }
  steps.done("gate opened");
  if (cut && cut->without && *cut->without < cut->journaled) {
    if (const auto again = apply_orphans(here, cut->without->next(), cut->journaled); !again)
      done.hook = "not every update after " + std::to_string(cut->without->value) +
                  " could be applied again (hotbackup orphans " + here.settings.name +
                  "): " + again.error().text();
    steps.done("updates after " + human_count(cut->without->value) + " applied again");
  }
  const auto told =
      roles::run_hook(here, here.settings.on_promote, "master", done.epoch, old_master);
  if (!told) done.hook += (done.hook.empty() ? "" : "; ") + ("on_promote: " + told.error().text());
  if (!here.settings.on_promote.empty()) steps.done("on_promote");
  return done;
}

nlohmann::ordered_json to_json(const Here& here, const Found& found, const PromoteOptions& options,
                               const std::optional<Cut>& cut, const std::string& rpo,
                               const roles::Steps& steps, const Done* done) {
  const roles::Loss& loss = found.loss;
  nlohmann::ordered_json out{
      {"group", here.settings.name},
      {"node", here.node()},
      {"dry_run", options.dry_run},
      {"epoch", done != nullptr ? done->epoch.counter : here.group.known_epoch().counter + 1},
      {"number", here.group.made().value},
      {"lost", loss.text},
      {"rpo", rpo}};
  out["lost_updates"] =
      loss.updates ? nlohmann::ordered_json(*loss.updates) : nlohmann::ordered_json(nullptr);
  if (done != nullptr) out["number"] = done->number.value;
  out["left_out"] = cut ? nlohmann::ordered_json(cut->text()) : nlohmann::ordered_json(nullptr);
  out["peers"] = nlohmann::ordered_json::array();
  for (const auto& [peer, answer] : found.peers)
    out["peers"].push_back({{"name", peer},
                            {"answers", answer.has_value()},
                            {"text", answer ? answer->text : answer.error().text()}});
  out["steps"] = nlohmann::ordered_json::parse(roles::to_json(steps.all()));
  if (done != nullptr) out["hook_failed"] = done->hook;
  return out;
}

void print(const Here& here, const Found& found, const std::optional<Cut>& cut,
           const std::string& rpo, const roles::Steps& steps, const Done* done) {
  const std::string name = here.settings.name;
  if (done == nullptr)
    std::printf("%s  would be promoted on %s at update %s, in epoch %llu\n", name.c_str(),
                here.node().c_str(), human_count(here.group.made().value).c_str(),
                static_cast<unsigned long long>(here.group.known_epoch().counter + 1));
  else
    std::printf("%s  MASTER %s  epoch %llu  promoted at update %s\n", name.c_str(),
                here.node().c_str(), static_cast<unsigned long long>(done->epoch.counter),
                human_count(done->number.value).c_str());
  std::printf("  lost       %s\n", found.loss.text.c_str());
  if (cut)
    std::printf("  left out   %s: hotbackup orphans %s\n", cut->text().c_str(), name.c_str());
  if (here.settings.rpo) std::printf("  rpo        %s\n", rpo.c_str());
  for (const auto& [peer, answer] : found.peers)
    std::printf("  peer       %s  %s\n", peer.c_str(),
                answer ? "answers" : answer.error().text().c_str());
  const std::size_t left = here.group.made().value -
                           std::min(here.group.layout().applied.load(), here.group.made().value);
  if (done == nullptr) std::printf("  to apply   %s updates\n", human_count(left).c_str());
  for (const roles::Step& step : steps.all())
    std::printf("  %7.1f ms %s\n", step.milliseconds, step.name.c_str());
}

Result<int> promote_one(const Session& session, const PromoteOptions& options,
                        const config::Configuration& configuration, const config::Group& settings) {
  HOTBACKUP_ASSIGN(const auto group, open_group(configuration, settings));
  const Here here{configuration, settings, *group, "hotbackup " HOTBACKUP_VERSION};
  const std::string& name = settings.name;
  if (group->role() == Role::kMaster)
    return fail(ErrorCode::kFenced, here.node() + " is master of " + name + " already, in epoch " +
                                        std::to_string(group->epoch().counter) +
                                        ": see hotbackup status " + name);
  if (group->made().value == 0)
    return fail(ErrorCode::kFenced,
                here.node() + " has no copy of " + name + " yet: see hotbackup status " + name);
  HOTBACKUP_TRY(control::require_prepared(*group));
  roles::Steps steps;
  const Found found = look(here);
  if (!options.force) HOTBACKUP_TRY(refuse_if_needless(here, found));
  if (options.if_safe) HOTBACKUP_TRY(require_lease(here));
  HOTBACKUP_ASSIGN(const auto cut, find_cut(here, options));
  steps.done("peers asked");
  std::string rpo = roles::against_rpo(settings, found.loss, found.known, wall_now());
  const Done* none = nullptr;
  const auto tell = [&](const Done* done) {
    if (session.json)
      std::printf("%s\n",
                  to_json(here, found, options, cut, rpo, steps, done)
                      .dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)
                      .c_str());
    else
      print(here, found, cut, rpo, steps, done);
  };
  if (options.dry_run) {
    tell(none);
    return kDone;
  }
  HOTBACKUP_TRY(confirm(here, found, cut, options));
  HOTBACKUP_TRY(log_command(session, group->directory()));
  HOTBACKUP_ASSIGN(const Done done, carry_out(here, found, options.if_safe, cut, steps));
  const auto kept =
      roles::keep(here, {"promote", done.epoch, done.number, found.loss, rpo, steps.all()});
  tell(&done);
  if (!done.hook.empty())
    std::fprintf(stderr, "hotbackup: HB-hook-failed: %s\n", done.hook.c_str());
  if (!kept) std::fprintf(stderr, "hotbackup: %s\n", error_line(kept.error()).c_str());
  return done.hook.empty() && kept ? kDone : kNeedsYou;
}

/// --from NODE: every group that follows it here.
Result<int> promote_all(const Session& session, const PromoteOptions& options,
                        const config::Configuration& configuration) {
  if (config::find_peer(configuration, options.from) == nullptr)
    return fail(ErrorCode::kConfig, "no [[peer]] is called " + options.from);
  int worst = -1;
  for (const config::Group& settings : configuration.groups) {
    auto group = control::Group::open(group_directory(configuration, settings.name));
    if (!group || (*group)->role() == Role::kMaster || (*group)->role() == Role::kNone ||
        options.from != (*group)->layout().master_name)
      continue;
    group->reset();
    const auto one = promote_one(session, options, configuration, settings);
    if (!one) std::fprintf(stderr, "hotbackup: %s\n", error_line(one.error()).c_str());
    worst = std::max(worst, one ? *one : exit_code(one.error()));
  }
  if (worst < 0)
    return fail(ErrorCode::kFenced,
                "no group follows " + options.from + " here: see hotbackup status");
  return worst;
}

Result<int> promote(const Session& session, const PromoteOptions& options) {
  if (!options.until.empty()) HOTBACKUP_TRY(journal::parse_point(options.until));
  HOTBACKUP_ASSIGN(const auto configuration, load_configuration(session));
  if (!options.from.empty()) {
    if (!options.group.empty())
      return fail(ErrorCode::kConfig, "either a group or --from NODE, not both");
    if (!options.until.empty() || options.without)
      return fail(ErrorCode::kConfig, "--until and --without are for one group, not for --from");
    return promote_all(session, options, configuration);
  }
  HOTBACKUP_ASSIGN(const auto* settings, config::find_group(configuration, options.group));
  return promote_one(session, options, configuration, *settings);
}

}  // namespace

void add_promote(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("promote", "Makes this node master without the old one");
  auto options = std::make_shared<PromoteOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("--from", options->from, "every group that this node is master of")
      ->type_name("NODE");
  command->add_flag("--dry-run", options->dry_run,
                    "asks the peers, says what would be lost, and changes nothing");
  command->add_flag("--if-safe", options->if_safe,
                    "waits until the old master's lease has run out");
  command->add_flag("--force", options->force,
                    "also with a master that answers, or a slave that has more");
  command->add_option("--until", options->until,
                      "leaves out what comes after N, or a time with its zone; it becomes orphans");
  command
      ->add_option("--without", options->without,
                   "leaves update N out; what comes after it is applied again")
      ->transform(update_number());
  command->add_flag("--yes", options->yes, "without a question");
  command->callback([&session, options] {
    session.action = [&session, options] { return promote(session, *options); };
  });
}

}  // namespace hotbackup::cli
