// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/machine.h"

#include <thread>

namespace hotbackup::sim {
namespace {

/// As a process leaves a lock in which it died: only a thread that ends can.
void leave_locked(os::SharedMutex& mutex) {
  std::thread([&mutex] { ::pthread_mutex_lock(&mutex.mutex); }).join();
}

bool locked(os::SharedMutex& mutex) {
  const int rc = ::pthread_mutex_trylock(&mutex.mutex);
  if (rc == EBUSY) return true;
  // Left by one that died before, and nobody has come since: it is ours now, and left again.
  if (rc == EOWNERDEAD) ::pthread_mutex_consistent(&mutex.mutex);
  ::pthread_mutex_unlock(&mutex.mutex);
  return rc == EOWNERDEAD;
}

}  // namespace

GroupId the_group() {
  return *GroupId::from_hex("00112233445566778899aabbccddeeff");
}

Machine::Machine(World& world, Network& network, int number, std::string name)
    : world_(world),
      network_(network),
      number_(number),
      name_(std::move(name)),
      disk_(world.random().next()),
      directory_(disk_.directory(kJournal)) {}

void Machine::end_in_call(std::uint64_t calls, bool power) {
  power_ = power;
  disk_.end_process_in(calls);
}

Machine::Ran Machine::run(const std::function<void()>& piece) {
  bool held = false;
  disk_.on_process_end([&] { held = tail_ != nullptr && locked(tail_->append_lock); });
  try {
    piece();
    return Ran::kWhole;
  } catch (const test::ProcessEnds&) {
  }
  disk_.revive();
  world_.note(name_, power_ ? "power fails in call" : "a process ends in call", disk_.calls());
  if (power_) {
    lose_power();
    return Ran::kNoPower;
  }
  ++ended_processes_;
  if (held) leave_locked(tail_->append_lock);
  return Ran::kEnded;
}

void Machine::lose_power() {
  if (!up_) return;
  world_.note(name_, "power is off");
  up_ = false;
  ++power_losses_;
  ++boots_;
  on_power_loss();
  tail_.reset();
  disk_.lose_power();
  directory_ = disk_.directory(kJournal);
  world_.within(Span(2'000), Span(60'000), [this, boot = boots_] {
    if (boot != boots_) return;
    up_ = true;
    world_.note(name_, "boots");
    this->boot();
  });
}

Result<journal::RecoveredTail> Machine::recover() {
  HOTBACKUP_ASSIGN(const auto found, journal::recover_tail(*directory_, the_group(), node_id()));
  fill_tail(found);
  return found;
}

void Machine::fill_tail(const journal::RecoveredTail& found) {
  tail_ = std::make_unique<journal::SharedTail>();
  tail_->append_lock.initialize();
  tail_->sync_lock.initialize();
  tail_->made.store(found.made.value);
  tail_->synced.store(found.made.value);
  tail_->segment_first.store(found.segment_first.value);
  tail_->segment_bytes = found.segment_bytes;
  tail_->offset = found.offset;
  tail_->chain = found.chain;
  tail_->epoch = found.epoch;
  tail_->generation.store(1);
}

void Machine::require_durable(UpdateNumber number, const ChainHash& chain, std::string_view rule) {
  if (number.value == 0) return;
  const auto image = disk_.surely_durable();
  const auto directory = image->directory(kJournal);
  const auto there = journal::position_at(*directory, the_group(), number);
  world_.require(there && there->chain == chain,
                 std::string(rule) + (there ? "" : ": " + there.error().text()), name_,
                 number.value);
}

}  // namespace hotbackup::sim
