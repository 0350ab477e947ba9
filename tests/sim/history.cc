// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/history.h"

#include <memory>

#include "tests/sim/master.h"
#include "tests/sim/sender.h"

namespace hotbackup::sim {
namespace {

constexpr Span kConvergeLimit{60'000'000};
constexpr Span kLook{20'000};

class History {
 public:
  History(std::uint64_t seed, bool print);
  void run();
  void count(Outcome& outcome) const;
  std::uint64_t trace();

 private:
  void arrange_faults();
  void next_fault();
  void fault();
  void fault_of(Machine& machine);
  void network_fault();
  void disk_fault(Machine& machine);
  void heal();
  void attend();
  bool level() const;
  void compare_contents() const;
  Machine& some_machine();
  Slave& some_slave() { return *slaves_[world_.random().below(slaves_.size())]; }

  World world_;
  Network network_;
  Truth truth_;
  GapChecker gaps_;
  PinChecker pins_;
  Master master_;
  std::vector<std::unique_ptr<Slave>> slaves_;
  bool faulty_ = true;
  // Which kinds of fault this history has, and how often: few histories have all of them.
  bool crashes_, powers_, network_faults_, disk_errors_, full_disks_, bits_, forgets_;
  Span pause_{};
};

History::History(std::uint64_t seed, bool print)
    : world_(seed, print),
      network_(world_),
      truth_(world_, 1 + world_.random().below(3)),
      gaps_(world_),
      pins_(world_),
      master_(world_, network_, truth_, gaps_, pins_) {
  const std::size_t count = 1 + world_.random().below(3);
  for (std::size_t i = 1; i <= count; ++i) {
    slaves_.push_back(
        std::make_unique<Slave>(world_, network_, static_cast<int>(i), truth_, gaps_, pins_));
    master_.know(*slaves_.back());
  }
  arrange_faults();
}

void History::arrange_faults() {
  Random& random = world_.random();
  crashes_ = random.chance(0.7);
  powers_ = random.chance(0.6);
  network_faults_ = random.chance(0.7);
  disk_errors_ = random.chance(0.4);
  full_disks_ = random.chance(0.2);
  bits_ = random.chance(0.1);
  forgets_ = random.chance(0.3);
  pause_ = Span(random.between(5'000, 80'000));
  if (random.chance(0.5)) master_.set_commit_failures(0.05);
  if (crashes_)
    for (auto& slave : slaves_) slave->set_crash_in_commit(random.chance(0.5) ? 0.05 : 0);
}

void History::run() {
  master_.start_writers(1 + world_.random().below(4));
  next_fault();
  attend();
  world_.run_until(world_.now() + Span(world_.random().between(200'000, 900'000)));
  heal();
  world_.run_until(world_.now() + Span(100'000));
  master_.stop_writers();
  const Time limit = world_.now() + kConvergeLimit;
  while (!level()) {
    if (world_.now() >= limit) {
      std::string text = "the slaves do not come level after the faults: master made " +
                         std::to_string(master_.made().value);
      for (const auto& slave : slaves_) text += "; " + slave->describe();
      world_.violation(text);
    }
    world_.run_until(world_.now() + kLook);
  }
  compare_contents();
}

Machine& History::some_machine() {
  const std::size_t which = world_.random().below(slaves_.size() + 1);
  if (which == slaves_.size()) return master_;
  return *slaves_[which];
}

void History::next_fault() {
  world_.within(pause_ / 4, pause_, [this] {
    if (!faulty_) return;
    fault();
    next_fault();
  });
}

void History::fault() {
  Random& random = world_.random();
  switch (random.below(10)) {
    case 0:
    case 1:
      if (network_faults_) network_fault();
      return;
    case 2:
      if (disk_errors_ || full_disks_) disk_fault(some_machine());
      return;
    case 3:
      some_machine().disk().write_back();
      return;
    case 4:
      if (forgets_ && random.chance(0.3)) master_.forget(some_slave());
      if (bits_ && random.chance(0.3)) some_slave().flip_bit();
      return;
    case 5:
      some_slave().set_slow(random.chance(0.5));
      return;
    case 6:
      if (crashes_) {
        master_.end_writer();
        if (random.chance(0.3)) master_.end_server();
      }
      return;
    case 7:
      if (crashes_) some_slave().end_server();
      return;
    default:
      fault_of(some_machine());
  }
}

// In a call that comes soon: often within the recovery from the fault before.
void History::fault_of(Machine& machine) {
  Random& random = world_.random();
  const bool power = powers_ && random.chance(0.5);
  if (!power && !crashes_) return;
  if (power && random.chance(0.2)) return machine.lose_power();
  machine.end_in_call(1 + random.below(random.chance(0.5) ? 8 : 60), power);
}

void History::network_fault() {
  Random& random = world_.random();
  const int slave = some_slave().number();
  switch (random.below(4)) {
    case 0:
      return network_.cut_one(/*told=*/true);
    case 1:
      return network_.cut_one(/*told=*/false);
    case 2: {
      const bool outward = random.chance(0.5);
      const int from = outward ? 0 : slave;
      const int to = outward ? slave : 0;
      network_.block(from, to);
      world_.within(Span(10'000), Span(900'000), [this, from, to] { network_.unblock(from, to); });
      return;
    }
    default:
      network_.set_slowness(static_cast<unsigned>(random.between(1, 20)));
  }
}

void History::disk_fault(Machine& machine) {
  Random& random = world_.random();
  if (disk_errors_) {
    test::DiskFaults& faults = machine.disk().faults();
    faults = {};
    if (random.chance(0.5)) faults.sync_error = 0.3;
    if (random.chance(0.3)) faults.write_error = 0.1;
    if (random.chance(0.3)) faults.read_error = 0.05;
  }
  if (full_disks_) machine.disk().set_capacity(random.between(20'000, 120'000));
  world_.within(Span(5'000), Span(100'000), [&machine] {
    machine.disk().faults() = {};
    machine.disk().set_capacity(std::uint64_t{1} << 40);
  });
}

void History::heal() {
  world_.note("world", "the faults end");
  faulty_ = false;
  network_.heal();
  network_.set_slowness(1);
  master_.set_commit_failures(0);
  master_.disk().faults() = {};
  master_.disk().set_capacity(std::uint64_t{1} << 40);
  master_.disk().end_process_in(0);
  for (auto& slave : slaves_) {
    slave->set_crash_in_commit(0);
    slave->set_slow(false);
    slave->disk().faults() = {};
    slave->disk().set_capacity(std::uint64_t{1} << 40);
    slave->disk().end_process_in(0);
  }
}

// The person who looks after slaves that have refused to go on.
void History::attend() {
  for (auto& slave : slaves_) {
    if (!slave->stuck()) continue;
    master_.released(*slave);
    slave->wipe();
  }
  // What was not synced is lost, and the page cache may show it no more: the way on is a reboot.
  std::vector<Machine*> machines{&master_};
  for (auto& slave : slaves_) machines.push_back(slave.get());
  for (Machine* machine : machines) {
    if (machine->journal_stopped() && !faulty_) machine->lose_power();
  }
  world_.after(Span(100'000), [this] { attend(); });
}

bool History::level() const {
  if (!master_.idle()) return false;
  for (const auto& slave : slaves_)
    if (!slave->serving() || slave->stuck() || slave->shown() != master_.made()) return false;
  return true;
}

void History::compare_contents() const {
  for (std::size_t e = 0; e < truth_.environments(); ++e) {
    world_.require(master_.environment(e).content().items == truth_.content(e).items,
                   "an environment differs from its history", "master", e);
    for (const auto& slave : slaves_)
      world_.require(slave->copy(e).content().items == truth_.content(e).items,
                     "a copy differs from the master at the end", slave->name(), e);
  }
}

void History::count(Outcome& outcome) const {
  outcome.updates = truth_.made().value;
  outcome.power_losses = master_.power_losses();
  outcome.ended_processes = master_.ended_processes();
  for (const auto& slave : slaves_) {
    outcome.power_losses += slave->power_losses();
    outcome.ended_processes += slave->ended_processes();
    outcome.seeds += slave->seeds();
  }
}

std::uint64_t History::trace() {
  world_.mix(master_.disk().trace());
  for (const auto& slave : slaves_) world_.mix(slave->disk().trace());
  return world_.trace();
}

}  // namespace

Outcome run_history(std::uint64_t seed, bool print) {
  Outcome outcome;
  History history(seed, print);
  try {
    history.run();
  } catch (const Violation& violation) {
    outcome.broken = violation.text;
  }
  history.count(outcome);
  outcome.trace = history.trace();
  return outcome;
}

}  // namespace hotbackup::sim
