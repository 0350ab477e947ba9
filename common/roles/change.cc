// SPDX-License-Identifier: Apache-2.0
#include "common/roles/change.h"

#include <algorithm>
#include <thread>

#include "common/base/bytes.h"
#include "common/control/apply_decisions.h"
#include "common/control/last_words.h"
#include "common/lmdb/content_digest.h"
#include "common/orphan/orphan_set.h"
#include "common/recovery/baseline.h"
#include "common/retention/claims.h"

namespace hotbackup::roles {
namespace {

using control::ChangePhase;
using Server = control::Group::Server;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kServerLimit{10'000};
constexpr milliseconds kLook{5};  // while a server does what was asked

/// A program's transaction may keep the applier from closing a copy; people end programs.
constexpr milliseconds kApplyLimit{600'000};

lmdb::OpenOptions options_of(const control::EnvironmentEntry& entry) {
  lmdb::OpenOptions options;
  options.path = entry.path;
  options.subdirectory = entry.subdirectory != 0;
  return options;
}

/// The caller's promise of append_baseline is LMDB's writer lock. Where programs of this site write
/// keep-local data the txnid moves on before the gate opens: there the first update brings it.
Result<> write_baseline(control::Group& group, control::EnvironmentEntry& entry) {
  entry.baselined.store(0);
  entry.file_identity.store(0);
  HOTBACKUP_ASSIGN(const auto rules, group.keep_local(entry.configured));
  if (!rules.empty()) return {};
  auto environment = lmdb::Environment::open(options_of(entry));
  if (!environment && environment.error().code() == ErrorCode::kNotFound) return {};
  if (!environment) return fail(std::move(environment).error());
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(*environment, /*read_only=*/false));
  const auto description = recovery::describe(entry, environment->get());
  HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
  return recovery::append_baseline(group, entry, lock, description, txn.id().previous());
}

}  // namespace

void Steps::done(std::string name) {
  const auto now = Clock::now();
  steps_.push_back(
      {std::move(name), std::chrono::duration<double, std::milli>(now - last_).count()});
  last_ = now;
}

Result<std::unique_ptr<Change>> Change::begin(const Here& here) {
  HOTBACKUP_TRY(here.group.hold_server(Server::kChange));
  here.group.layout().roles.change_phase.store(0);
  return std::unique_ptr<Change>(new Change(here));
}

Change::~Change() {
  if (decided_ && here_.group.role() != control::Role::kMaster) {
    (void)control::change_apply_decisions(here_.group, [&](control::ApplyDecisions& decisions) {
      decisions.paused = decided_->paused;
      decisions.through = decided_->through;
    });
    (void)control::request_apply(here_.group);
  }
  here_.group.layout().roles.change_phase.store(static_cast<std::uint32_t>(ChangePhase::kNone));
  here_.group.release_server(Server::kChange);
}

Result<> Change::request(ChangePhase phase, const std::function<bool()>& done,
                         const std::string& late) {
  control::RoleState& roles = here_.group.layout().roles;
  roles.change_phase.store(static_cast<std::uint32_t>(phase));
  roles.change_request.fetch_add(1);
  const auto end = Clock::now() + kServerLimit;
  while (!done()) {
    if (Clock::now() > end) return fail(ErrorCode::kTimeout, late);
    std::this_thread::sleep_for(kLook);
  }
  return {};
}

Result<> Change::refuse_calls() {
  control::Group& group = here_.group;
  control::RoleState& roles = group.layout().roles;
  const auto answered = [&] {
    return roles.change_answered.load() == roles.change_request.load() ||
           !group.server_alive(Server::kSlave);
  };
  return request(ChangePhase::kNoCalls, answered,
                 "hotbackup-slave does not end its session: see hotbackup status");
}

// A batch at hand may still reach further than what is decided now: it is over when this returns.
Result<> Change::decide(std::optional<bool> paused, UpdateNumber through) {
  control::Group& group = here_.group;
  HOTBACKUP_TRY(control::change_apply_decisions(group, [&](control::ApplyDecisions& decisions) {
    if (!decided_) decided_ = decisions;
    if (paused) decisions.paused = paused;
    decisions.through = through;
  }));
  const std::uint32_t request = control::request_apply(group);
  const control::Layout& layout = group.layout();
  const auto end = Clock::now() + kApplyLimit;
  while (layout.apply_answered.load() < request && group.server_alive(Server::kSlave)) {
    const std::uint32_t ticket = layout.acknowledged_wake.load();
    if (Clock::now() > end)
      return fail(ErrorCode::kTimeout,
                  "applying goes on: see hotbackup status " + here_.settings.name);
    if (layout.apply_answered.load() < request)
      os::futex_wait(layout.acknowledged_wake, ticket, milliseconds(20));
  }
  return {};
}

Result<> Change::apply_everything() {
  const UpdateNumber all = here_.group.made();
  if (here_.settings.apply_delay.count() != 0) HOTBACKUP_TRY(decide(std::nullopt, all));
  return wait_applied(all, /*may_pause=*/false);
}

Result<> Change::apply_no_further(UpdateNumber last) {
  HOTBACKUP_TRY(decide(true, last));
  HOTBACKUP_TRY(wait_applied(last, /*may_pause=*/true));
  const std::uint64_t applied = here_.group.layout().applied.load();
  if (applied == last.value) return {};
  return fail(ErrorCode::kFenced, "the copies show update " + std::to_string(applied) +
                                      " already, that is update " + std::to_string(last.value) +
                                      ": they do not go back");
}

Result<> Change::wait_applied(UpdateNumber number, bool may_pause) {
  control::Group& group = here_.group;
  const control::Layout& layout = group.layout();
  const std::string& name = here_.settings.name;
  const auto end = Clock::now() + kApplyLimit;
  for (;;) {
    const std::uint32_t ticket = layout.acknowledged_wake.load();
    if (layout.applied.load() >= number.value) return {};
    const auto state = static_cast<control::ApplyState>(layout.apply_state.load());
    if (!group.server_alive(Server::kSlave))
      return fail(ErrorCode::kFenced, "hotbackup-slave does not run here, and " +
                                          std::to_string(number.value - layout.applied.load()) +
                                          " updates are not applied: start it");
    if (state == control::ApplyState::kPaused && !may_pause)
      return fail(ErrorCode::kFenced,
                  "applying is paused: type hotbackup resume " + name + " first");
    if (state == control::ApplyState::kStopped)
      return fail(ErrorCode::kFenced, "applying has stopped at update " +
                                          std::to_string(layout.apply_stopped_at.load()) +
                                          ": type hotbackup retry " + name +
                                          ", or hotbackup skip, first");
    if (Clock::now() > end)
      return fail(ErrorCode::kTimeout, "applying goes on: see hotbackup status " + name);
    os::futex_wait(layout.acknowledged_wake, ticket, milliseconds(20));
  }
}

Result<> Change::cut_after(UpdateNumber last, const std::string& master) {
  control::Group& group = here_.group;
  if (last < group.made()) {
    HOTBACKUP_ASSIGN(const auto at,
                     journal::position_at(group.journal_directory(), group.id(), last));
    HOTBACKUP_TRY(orphan::write(group, at, master));
    HOTBACKUP_TRY(orphan::note_open(group));
    HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
    HOTBACKUP_TRY(group.journal().cut_after(lock, at));
  }
  return control::change_apply_decisions(group, [](control::ApplyDecisions& decisions) {
    decisions.paused = false;
    decisions.through = UpdateNumber();
  });
}

Result<> Change::let_go() {
  control::Group& group = here_.group;
  return request(
      ChangePhase::kLetGo, [&] { return !group.server_alive(Server::kSlave); },
      "hotbackup-slave does not close the copies: a program may hold a write transaction in one");
}

Result<> Change::write_epoch(const Epoch& epoch) {
  control::Group& group = here_.group;
  {
    HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
    journal::FrameHeader fields;
    fields.epoch = epoch;
    fields.commit_time = wall_now();
    const std::string body = update::write_epoch({epoch, here_.node()});
    HOTBACKUP_TRY(group.journal().append_control(lock, journal::FrameKind::kEpoch, body, fields));
    group.set_epoch(epoch);
  }
  HOTBACKUP_TRY(control::forget_last_words(group));
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n)
    if (control::EnvironmentEntry* entry = group.environment(EnvironmentNumber(n)))
      if (auto done = write_baseline(group, *entry); !done)
        return fail(
            std::move(done).error().with_context("environment " + std::string(entry->name)));
  return group.journal().sync_through(group.made());
}

Result<> Change::claim_for(const std::string& peer, UpdateNumber number) {
  control::Group& group = here_.group;
  control::PeerEntry* entry = group.peer(peer);
  if (entry == nullptr) return {};
  for (auto* word : {&entry->sent, &entry->journaled, &entry->applied, &entry->published})
    word->store(number.value);
  if (number.value == 0) return {};
  HOTBACKUP_ASSIGN(const auto at,
                   journal::position_at(group.journal_directory(), group.id(), number));
  entry->seeded.store(1);
  return retention::hold(group, peer, at);
}

Result<std::uint64_t> published_hash(control::Group& group, UpdateNumber from,
                                     UpdateNumber through) {
  journal::Reader reader(group.journal_directory(), group.id());
  HOTBACKUP_TRY(reader.seek(from));
  std::uint64_t hash = 0;
  while (reader.next_number() <= through) {
    HOTBACKUP_ASSIGN(const auto frame, reader.next(through));
    if (!frame)
      return fail(ErrorCode::kGap,
                  "the journal ends before update " + std::to_string(through.value));
    char words[24];
    store_le(words, hash);
    store_le(words + 8, frame->header.checksum);
    store_le(words + 16, frame->header.void_word);
    hash = hash64({words, sizeof words});
  }
  return hash;
}

Result<std::uint64_t> content_hash(control::Group& group) {
  std::string all;
  const auto add = [&all](std::uint64_t value) {
    char bytes[8];
    store_le(bytes, value);
    all.append(bytes, sizeof bytes);
  };
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n) {
    const control::EnvironmentEntry* entry = group.environment(EnvironmentNumber(n));
    if (entry == nullptr) continue;
    lmdb::OpenOptions options = options_of(*entry);
    options.read_only = true;
    HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
    HOTBACKUP_ASSIGN(const auto rules, group.keep_local(entry->configured));
    HOTBACKUP_ASSIGN(const auto digest, lmdb::digest(environment, rules));
    add(n);
    for (const lmdb::DatabaseDigest& database : digest) {
      all += database.name;
      for (const std::uint64_t value :
           {std::uint64_t{database.flags}, database.items, database.sum.low, database.sum.high})
        add(value);
    }
  }
  return hash64(all);
}

}  // namespace hotbackup::roles
