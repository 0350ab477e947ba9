// SPDX-License-Identifier: Apache-2.0
#include "common/roles/respond.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/control/apply_decisions.h"
#include "common/roles/loss.h"
#include "common/roles/orphan_apply.h"
#include "common/roles/shared_settings.h"
#include "common/roles/switch_over.h"

namespace hotbackup::roles {
namespace {

using control::Role;
using Kind = wire::Ask::Kind;

constexpr std::uint32_t kFailed = 1;
constexpr std::uint32_t kWrongState = 3;
constexpr std::uint32_t kGaveUp = 5;
constexpr std::uint32_t kNeedsYou = 6;

std::uint32_t exit_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kFenced:
    case ErrorCode::kConfig:
    case ErrorCode::kBusy:
      return kWrongState;
    case ErrorCode::kTimeout:
      return kGaveUp;
    default:
      return kFailed;
  }
}

void describe(control::Group& group, wire::Answer& answer) {
  const UpdateNumber number =
      group.role() == Role::kMaster ? group.published() : std::min(group.made(), group.synced());
  answer.role = static_cast<std::uint32_t>(group.role());
  answer.group_id = group.id();
  answer.known = group.known_epoch();
  answer.master = group.layout().master_name;
  answer.applied = UpdateNumber(group.layout().applied.load());
  answer.journaled = {group.epoch(), number, {}};
  if (auto at = journal::position_at(group.journal_directory(), group.id(), number))
    answer.journaled = *at;
}

Result<> history(control::Group& group, const wire::Ask& ask, wire::Answer& answer) {
  HOTBACKUP_ASSIGN(const auto oldest, journal::oldest_update(group.journal_directory()));
  answer.from = std::max(ask.from, oldest);
  HOTBACKUP_ASSIGN(answer.hash, published_hash(group, answer.from, ask.number));
  return {};
}

Result<> may_take_over(const Here& here) {
  control::Group& group = here.group;
  if (group.role() != Role::kSlave)
    return fail(ErrorCode::kFenced, here.node() + " is not a slave of " + here.settings.name);
  if (!group.server_alive(control::Group::Server::kSlave))
    return fail(ErrorCode::kFenced, "no hotbackup-slave serves " + here.settings.name + " on " +
                                        here.node() + ": start it");
  const auto state = static_cast<control::ApplyState>(group.layout().apply_state.load());
  if (state == control::ApplyState::kPaused)
    return fail(ErrorCode::kFenced, "applying is paused on " + here.node() +
                                        ": type hotbackup resume " + here.settings.name + " there");
  if (state == control::ApplyState::kStopped)
    return fail(ErrorCode::kFenced, "applying has stopped on " + here.node() +
                                        ": type hotbackup retry " + here.settings.name + " there");
  return control::require_prepared(group);
}

}  // namespace

Result<> Responder::check_asker(const wire::Ask& ask, const config::Group& settings,
                                control::Group& group) const {
  const auto& peers = settings.peers;
  if (std::find(peers.begin(), peers.end(), ask.node_name) == peers.end())
    return fail(ErrorCode::kFenced, ask.node_name + " is not a peer of group " + settings.name +
                                        " on " + configuration_.node.name);
  if (!group.id().is_none() && group.id() != ask.group_id && !ask.group_id.is_none())
    return fail(ErrorCode::kFenced, "group " + settings.name + " on " + configuration_.node.name +
                                        " is another group of the same name");
  return {};
}

// From here on nothing but what the master has told is accepted; where it fails before the epoch is
// in the journal, this node is the slave it was.
Result<> Responder::take_over(const Here& here, const wire::Ask& ask, wire::Answer& answer) {
  control::Group& group = here.group;
  if (cancelled_.contains(ask.token)) return fail(ErrorCode::kFenced, "this switch was cancelled");
  HOTBACKUP_TRY(may_take_over(here));
  Steps steps;
  HOTBACKUP_ASSIGN(const auto change, Change::begin(here));
  HOTBACKUP_TRY(change->refuse_calls());
  if (group.made() != ask.number)
    return fail(ErrorCode::kDiverged, here.node() + " is at update " +
                                          std::to_string(group.made().value) + ", not " +
                                          std::to_string(ask.number.value));
  HOTBACKUP_TRY(change->apply_everything());
  HOTBACKUP_TRY(change->let_go());
  steps.done(here.node() + ": slave server has let go");
  if (ask.compare) {
    HOTBACKUP_ASSIGN(const std::uint64_t content, content_hash(group));
    if (content != ask.content)
      return fail(ErrorCode::kDiverged,
                  "the contents differ at update " + std::to_string(ask.number.value));
    steps.done(here.node() + ": contents compared");
  }
  const Epoch before = group.known_epoch();
  const std::string master(group.layout().master_name);
  HOTBACKUP_ASSIGN(const auto heard, group.hear_epoch(ask.epoch, here.node()));
  if (heard != control::Group::Heard::kNewer)
    return fail(ErrorCode::kFenced,
                here.node() + " knows of epoch " + std::to_string(before.counter) + " already");
  Result<> done = change->write_epoch(ask.epoch);
  if (done) done = change->claim_for(ask.node_name, ask.number);
  if (done) done = group.become_master(ask.epoch);
  if (!done) {
    (void)group.forget_epoch(before, master);
    return done;
  }
  steps.done(here.node() + ": gate opened");
  const auto opened = std::chrono::steady_clock::now();
  if (auto ran = run_hook(here, here.settings.on_promote, "master", ask.epoch, ask.node_name);
      !ran) {
    answer.exit = kNeedsYou;
    answer.text = "on_promote on " + here.node() + ": " + ran.error().text();
  }
  (void)keep(here, {"switch", ask.epoch, ask.number, {"nothing", 0}, "", steps.all()});
  answer.report = to_json(steps.all());
  // How long ago the gate was opened, so that who asked can say how long writers had to wait.
  answer.hash = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                               std::chrono::steady_clock::now() - opened)
                                               .count());
  return {};
}

Result<> Responder::act(const Here& here, const wire::Ask& ask, wire::Answer& answer) {
  switch (ask.kind) {
    case Kind::kState:
      if (ask.body == kAsksSettings)
        answer.report = shared_settings(configuration_, here.settings).dump();
      return {};
    case Kind::kPrepare: {
      HOTBACKUP_TRY(may_take_over(here));
      const auto ran = run_hook(here, here.settings.before_promote, "slave",
                                here.group.known_epoch(), ask.node_name);
      if (!ran)
        return fail(ErrorCode::kFenced,
                    "before_promote on " + here.node() + ": " + ran.error().text());
      return {};
    }
    case Kind::kHistory:
      return history(here.group, ask, answer);
    case Kind::kTakeOver:
      return take_over(here, ask, answer);
    case Kind::kCancel:
      cancelled_.insert(ask.token);
      return {};
    case Kind::kOrphan: {
      HOTBACKUP_ASSIGN(answer.report, take_orphan(here.group, ask));
      return {};
    }
    case Kind::kCompare: {
      HOTBACKUP_ASSIGN(answer.body, comparisons_.ask(here, ask.token, ask.body));
      return {};
    }
    case Kind::kSwitch: {
      const auto switched = switch_over(here, ask.node_name, ask.compare);
      if (!switched) return fail(switched.error());
      answer.exit = switched->needs_you.empty() ? 0 : kNeedsYou;
      answer.text = switched->needs_you;
      answer.report = to_json(switched->steps);
      answer.hash = static_cast<std::uint64_t>(switched->pause_ms * 1000);
      return {};
    }
  }
  return fail(ErrorCode::kProtocol, "a question of a kind that is not known");
}

wire::Answer Responder::answer(const wire::Ask& ask) {
  wire::Answer answer;
  answer.node_name = configuration_.node.name;
  const auto settings = config::find_group(configuration_, ask.group);
  if (ask.group.empty() || !settings) {
    answer.exit = kWrongState;
    answer.text = "node " + configuration_.node.name + " has no group '" + ask.group + "'";
    return answer;
  }
  auto group = control::Group::open(configuration_.node.state + "/groups/" + (*settings)->name);
  Result<> done = group ? check_asker(ask, **settings, **group) : fail(group.error());
  if (done) {
    const Here here{configuration_, **settings, **group, program_};
    std::unique_lock<std::mutex> turn(mutex_, std::defer_lock);
    if (!is_quick(ask) && !is_comparison(ask)) turn.lock();
    done = act(here, ask, answer);
    answer.node = NodeId((*group)->layout().node);
    describe(**group, answer);
  }
  if (!done) {
    answer.exit = exit_of(done.error());
    answer.text = done.error().text();
  }
  return answer;
}

}  // namespace hotbackup::roles
