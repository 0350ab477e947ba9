// SPDX-License-Identifier: Apache-2.0
// A model of master/capture/commit.cc (CommitProtocol) over the real journal: CAPTURE section 2,
// steps 0 to 6, and section 4 for what comes after a reboot. Each step is an event of its own.
#include <algorithm>

#include "tests/sim/master.h"

namespace hotbackup::sim {
namespace {

constexpr std::size_t kKeys = 40;

}  // namespace

void Master::later(std::size_t which, Span most, std::function<void()> what) {
  world_.within(Span(10), most, [this, which, id = writers_[which].id, what = std::move(what)] {
    if (writers_[which].id != id || alive_.count(id) == 0) return;
    settle(false);
    switch (run(what)) {
      case Ran::kWhole:
        return moved();
      case Ran::kEnded:
        return writer_died(which);
      case Ran::kNoPower:
        return;
    }
  });
}

void Master::start_writer(std::size_t which) {
  Writer& writer = writers_[which];
  writer.id = ++ids_;
  alive_.insert(writer.id);
  writer.journal =
      std::make_unique<journal::Journal>(directory(), *tail_, the_group(), kSegmentBytes);
  idle_for_a_while(which);
}

// Its locks go with it; its slot stays as it is.
void Master::writer_died(std::size_t which) {
  Writer& writer = writers_[which];
  world_.note(name_, "a writer has ended", which);
  alive_.erase(writer.id);
  for (Environment& environment : environments_)
    if (environment.holder == writer.id) environment.holder = 0;
  writer = Writer();
  world_.within(Span(1'000), Span(40'000), [this, which, boot = boots_] {
    if (boot == boots_ && up_ && tail_ != nullptr && writers_[which].id == 0) start_writer(which);
  });
}

void Master::idle_for_a_while(std::size_t which) {
  later(which, Span(8'000), [this, which] { begin(which); });
}

std::vector<Change> Master::random_changes(const Content& content) {
  Random& random = world_.random();
  std::vector<Change> changes;
  const std::size_t count = random.chance(0.1) ? 0 : 1 + random.below(6);
  for (std::size_t i = 0; i < count; ++i) {
    Change change;
    change.key = "key" + std::to_string(random.below(kKeys));
    if (random.chance(0.02)) {
      change.kind = update::OperationKind::kClear;
      change.key.clear();
    } else if (random.chance(0.25) && content.items.count(change.key) != 0) {
      change.kind = update::OperationKind::kDeleteKey;
    } else {
      change.value = std::to_string(random.next());
      change.value.resize(random.chance(0.05) ? random.below(5000) : random.below(200), 'v');
    }
    changes.push_back(std::move(change));
  }
  return changes;
}

// Step 0: under LMDB's writer lock, an occupied slot is resolved first, whether its owner lives or
// not.
void Master::begin(std::size_t which) {
  if (!writing_) return idle_for_a_while(which);
  Writer& writer = writers_[which];
  writer.environment = world_.random().below(environments_.size());
  Environment& environment = environments_[writer.environment];
  if (environment.holder != 0) return later(which, Span(1'000), [this, which] { begin(which); });
  environment.holder = writer.id;
  if (auto resolved = resolve(*writer.journal, environment); !resolved) {
    environment.holder = 0;
    return idle_for_a_while(which);
  }
  writer.changes = random_changes(environment.store.content());
  later(which, Span(500), [this, which] { append(which); });
}

Result<> Master::resolve(journal::Journal& journal, Environment& environment) {
  const Slot slot = environment.slot;
  if (slot.number.value == 0) return {};
  const bool committed = slot.txnid <= environment.store.txnid();
  if (!committed) {
    HOTBACKUP_TRY(journal.set_void(slot.number, slot.location));
    settle(true);
  }
  decided(environment, slot.number, slot.txnid, committed);
  if (environment.slot.number == slot.number) environment.slot = Slot();
  return {};
}

void Master::decided(const Environment& environment, UpdateNumber number, std::uint64_t txnid,
                     bool committed) {
  if (is_known(environment, number, txnid)) truth_.decided(number, committed);
}

/// Whether this update is the one of that number: an append that failed gives the number free.
bool Master::is_known(const Environment& environment, UpdateNumber number,
                      std::uint64_t txnid) const {
  if (number > truth_.made()) return false;
  const Truth::Update& update = truth_.at(number);
  return update.txnid == txnid && &environments_[update.environment] == &environment;
}

void Master::settle(bool locked) {
  if (!limbo_ || tail_ == nullptr) return;
  if (limbo_number_ <= made()) {
    limbo_->chain = tail_->chain;
    truth_.appended(limbo_number_, std::move(*limbo_));
    limbo_.reset();
  } else if (locked && !limbo_is_announced()) {
    limbo_.reset();
  }
}

// A write that failed may have left all of it: until its slot is cleared a power loss decides.
bool Master::limbo_is_announced() const {
  return std::any_of(environments_.begin(), environments_.end(),
                     [&](const Environment& each) { return each.slot.number == limbo_number_; });
}

// Steps 1 and 2.
void Master::append(std::size_t which) {
  Writer& writer = writers_[which];
  if (auto appended = append_update(writer); !appended) {
    world_.note(name_, appended.error().text());
    environments_[writer.environment].holder = 0;
    // Of a write that failed everything may be there.
    const bool announced = writer.appended.number.value != 0;
    return announced ? void_failed(which) : idle_for_a_while(which);
  }
  later(which, Span(500), [this, which] { sync(which); });
}

Result<journal::Appended> Master::append_update(Writer& writer) {
  Random& random = world_.random();
  Environment& environment = environments_[writer.environment];
  writer.appended = journal::Appended();
  journal::PendingUpdate update(directory(), random.chance(0.05) ? 512 : 1 << 20);
  {
    update::BodyWriter body(update.body());
    for (const Change& change : writer.changes) {
      if (random.chance(0.3)) {
        HOTBACKUP_TRY(update.close_body());
        (void)update.body();
        body.start_body();
      }
      body.add(change.operation());
    }
  }
  HOTBACKUP_TRY(update.prepare());
  HOTBACKUP_ASSIGN(auto lock, writer.journal->lock());
  settle(true);
  journal::FrameHeader fields;
  fields.epoch = the_epoch();
  fields.environment = EnvironmentNumber(static_cast<std::uint32_t>(writer.environment + 1));
  fields.kind = journal::FrameKind::kUpdate;
  fields.txnid = TxnId(environment.store.txnid() + 1);
  fields.commit_time = world_.wall();
  Truth::Update pending;
  pending.environment = static_cast<std::uint32_t>(writer.environment);
  pending.txnid = fields.txnid.value;
  pending.changes = writer.changes;
  // What another process left in limbo stays there until this append gets its number.
  const auto open_slot = [&](const journal::Appended& expected) {
    environment.slot = {expected.number, fields.txnid.value, expected.location, writer.id};
    limbo_ = std::move(pending);
    limbo_number_ = expected.number;
    writer.appended = expected;
  };
  writer.txnid = fields.txnid.value;
  auto appended = writer.journal->append(lock, update, fields, open_slot);
  if (!appended) return appended;
  settle(true);
  world_.note(name_, "appends", appended->number.value, fields.txnid.value);
  return appended;
}

// Step 3.
void Master::sync(std::size_t which) {
  Writer& writer = writers_[which];
  if (auto synced = writer.journal->sync_through(writer.appended.number); !synced) {
    world_.note(name_, synced.error().text());
    environments_[writer.environment].holder = 0;
    return void_failed(which);
  }
  later(which, Span(800), [this, which] { commit(which); });
}

// Step 4. LMDB releases its writer lock inside a failing commit: the next writer can come first.
void Master::commit(std::size_t which) {
  Writer& writer = writers_[which];
  Environment& environment = environments_[writer.environment];
  environment.holder = 0;
  if (world_.random().chance(commit_failures_)) {
    world_.note(name_, "LMDB's commit fails", writer.appended.number.value);
    return later(which, Span(500), [this, which] { void_failed(which); });
  }
  Content content = environment.store.content();
  for (const Change& change : writer.changes) content.apply(change.operation());
  environment.store.commit(std::move(content));
  environment.last = writer.appended.number;
  decided(environment, writer.appended.number, environment.store.txnid(), true);
  later(which, Span(500), [this, which] { clear(which); });
}

// Where it cannot be done the slot stays open, and whoever writes next tries again.
void Master::void_failed(std::size_t which) {
  Writer& writer = writers_[which];
  Environment& environment = environments_[writer.environment];
  const UpdateNumber number = writer.appended.number;
  if (writer.journal->set_void(number, writer.appended.location)) {
    if (environment.slot.number == number) environment.slot = Slot();
    settle(true);
    decided(environment, number, writer.txnid, false);
    if (is_known(environment, number, writer.txnid)) truth_.told(number, false);
  }
  idle_for_a_while(which);
}

// Step 6, and the caller is answered.
void Master::clear(std::size_t which) {
  Writer& writer = writers_[which];
  const UpdateNumber number = writer.appended.number;
  Slot& slot = environments_[writer.environment].slot;
  if (slot.number == number) slot = Slot();
  world_.note(name_, "commits", number.value);
  truth_.told(number, true);
  require_durable(number, truth_.chain_at(number), "a caller is told of what is not durable (R1)");
  idle_for_a_while(which);
}

// control::Group::published: nothing beyond an open slot, nothing that is not synced.
void Master::moved() {
  if (tail_ == nullptr) return;
  settle(false);
  const UpdateNumber synced(tail_->synced.load());
  UpdateNumber decided = made();
  for (const Environment& environment : environments_)
    if (environment.slot.number.value != 0 && environment.slot.number <= decided)
      decided = environment.slot.number.previous();
  const UpdateNumber published = std::min(synced, decided);
  if (published <= truth_.published()) return;
  truth_.publish(published);
  require_durable(published, truth_.chain_at(published), "publishes what is not durable (R2)");
  feed_all();
}

Result<> Master::append_control(journal::Journal& journal, os::SharedLock& lock,
                                journal::FrameKind kind, std::size_t environment) {
  const EnvironmentNumber number(static_cast<std::uint32_t>(environment + 1));
  journal::FrameHeader fields;
  fields.epoch = the_epoch();
  fields.environment = number;
  fields.txnid = TxnId(environments_[environment].store.txnid());
  fields.commit_time = world_.wall();
  update::EnvironmentBody described;
  described.number = number;
  described.name = "e" + std::to_string(number.value);
  const std::string body = kind == journal::FrameKind::kEnvironment
                               ? update::write_environment(described)
                               : update::write_baseline({node_id(), number, fields.txnid});
  limbo_.emplace();
  limbo_->fate = Truth::Fate::kCommitted;
  limbo_number_ = made().next();
  HOTBACKUP_TRY(journal.append_control(lock, kind, body, fields));
  settle(true);
  return {};
}

Result<> Master::append_baselines() {
  journal::Journal journal(directory(), *tail_, the_group(), kSegmentBytes);
  {
    HOTBACKUP_ASSIGN(auto lock, journal.lock());
    for (std::size_t e = 0; e < environments_.size(); ++e) {
      HOTBACKUP_TRY(append_control(journal, lock, journal::FrameKind::kEnvironment, e));
      HOTBACKUP_TRY(append_control(journal, lock, journal::FrameKind::kBaseline, e));
    }
  }
  return journal.sync_through(made());
}

// --- after a reboot ---

Result<> Master::recover_group() {
  HOTBACKUP_ASSIGN(const auto found, recover());
  settle(true);
  truth_.cut(found.made, found.chain);
  HOTBACKUP_TRY(roll_forward());
  return append_baselines();
}

Result<std::vector<Master::Walked>> Master::walk() {
  std::vector<Walked> walked;
  if (made().value == 0) return walked;
  HOTBACKUP_ASSIGN(const auto oldest, journal::oldest_update(directory()));
  journal::Reader reader(directory(), the_group());
  HOTBACKUP_TRY(reader.seek(oldest));
  for (;;) {
    HOTBACKUP_ASSIGN(const auto frame, reader.next(made()));
    if (!frame) return walked;
    if (frame->header.kind != journal::FrameKind::kUpdate) continue;
    if (frame->header.part == 0) walked.emplace_back();
    Walked& update = walked.back();
    update.number = frame->header.number;
    update.environment = frame->header.environment.value - 1;
    update.txnid = frame->header.txnid.value;
    update.is_void = update.is_void || frame->header.is_void();
    HOTBACKUP_TRY(update::read_body(frame->body, [&](const update::Operation& operation) {
      update.changes.push_back(
          {operation.kind, std::string(operation.key), std::string(operation.value)});
      return Result<>();
    }));
  }
}

// At most one committed update of an environment may be missing in it, and behind it one that was
// journaled and not committed yet; both are done again.
Result<> Master::roll_forward() {
  HOTBACKUP_ASSIGN(const auto walked, walk());
  std::vector<int> lost(environments_.size());
  for (const Walked& update : walked) {
    Environment& environment = environments_[update.environment];
    if (update.is_void) {
      decided(environment, update.number, update.txnid, false);
      continue;
    }
    if (update.txnid <= environment.store.txnid()) continue;
    const bool was_committed = truth_.at(update.number).fate == Truth::Fate::kCommitted;
    world_.require(update.txnid == environment.store.txnid() + 1 &&
                       (!was_committed || ++lost[update.environment] == 1),
                   "more than one committed update is missing in an environment", name_,
                   update.number.value, update.txnid);
    world_.note(name_, "does again", update.number.value);
    Content content = environment.store.content();
    for (const Change& change : update.changes) content.apply(change.operation());
    environment.store.commit(std::move(content));
    environment.last = update.number;
    decided(environment, update.number, update.txnid, true);
  }
  for (Environment& environment : environments_) environment.store.sync();
  return {};
}

}  // namespace hotbackup::sim
