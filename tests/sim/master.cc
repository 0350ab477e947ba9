// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/master.h"

#include "tests/sim/sender.h"

namespace hotbackup::sim {
namespace {

constexpr Span kTick{50'000};

}  // namespace

Master::Server::Server(Master& master)
    : journal(*master.directory_, *master.tail_, the_group(), kSegmentBytes) {}

Master::Master(World& world, Network& network, Truth& truth, GapChecker& gaps, PinChecker& pins)
    : Machine(world, network, 0, "master"),
      truth_(truth),
      gaps_(gaps),
      pins_checker_(pins),
      environments_(truth.environments()) {
  truth_.set_first_chain(journal::chain_before_all(the_group()));
  boot();
}

Master::~Master() = default;

void Master::know(Slave& slave) {
  slaves_[slave.number()] = &slave;
  if (server_ != nullptr) call(slave.number());
}

void Master::start_writers(std::size_t count) {
  writing_ = true;
  writers_.resize(count);
  for (std::size_t which = 0; which < count; ++which)
    if (tail_ != nullptr) start_writer(which);
}

void Master::end_writer() {
  if (writers_.empty() || !up_) return;
  const std::size_t which = world_.random().below(writers_.size());
  if (writers_[which].id != 0) writer_died(which);
}

void Master::on_power_loss() {
  server_.reset();
  ++server_lives_;
  for (Writer& writer : writers_) writer = Writer();
  alive_.clear();
  for (Environment& environment : environments_) {
    environment.slot = Slot();
    environment.holder = 0;
    if (world_.random().chance(0.5)) environment.store.lose_last();
    environment.store.sync();
  }
}

// Whoever comes first after a reboot recovers; if it ends in that, the next one does.
void Master::boot() {
  bool recovered = false;
  const Ran ran = run([&] {
    if (auto done = recover_group(); !done) {
      world_.note(name_, done.error().text());
      world_.require(done.error().code() != ErrorCode::kCorrupt, done.error().text(), name_);
      return;
    }
    recovered = true;
  });
  if (ran == Ran::kNoPower) return;
  if (ran != Ran::kWhole || !recovered) {
    tail_.reset();
    world_.within(Span(1'000), Span(40'000), [this, boot = boots_] {
      if (boot == boots_ && up_ && tail_ == nullptr) this->boot();
    });
    return;
  }
  moved();
  start_server();
  for (std::size_t which = 0; which < writers_.size(); ++which) start_writer(which);
}

bool Master::idle() const {
  for (const Environment& environment : environments_)
    if (environment.slot.number.value != 0 || environment.holder != 0) return false;
  return up_ && tail_ != nullptr && truth_.published() == made();
}

// --- the master server ---

void Master::start_server() {
  server_ = std::make_unique<Server>(*this);
  world_.note(name_, "the server starts", made().value);
  for (const auto& [number, slave] : slaves_) call(number);
  server_later(kTick, kTick, [this] { keep_house(); });
}

void Master::server_died() {
  ++server_lives_;
  world_.note(name_, "the server has ended");
  server_.reset();
  world_.within(Span(1'000), Span(80'000), [this, boot = boots_] {
    if (boot == boots_ && up_ && tail_ != nullptr && server_ == nullptr) start_server();
  });
}

void Master::end_server() {
  if (server_ != nullptr) server_died();
}

bool Master::in_server(const std::function<void()>& piece) {
  settle(false);
  switch (run(piece)) {
    case Ran::kWhole:
      moved();
      return true;
    case Ran::kEnded:
      server_died();
      return false;
    case Ran::kNoPower:
      return false;
  }
  return false;
}

void Master::server_later(Span least, Span most, std::function<void()> what) {
  world_.within(least, most, [this, life = server_lives_, what = std::move(what)] {
    if (life == server_lives_ && server_ != nullptr) in_server(what);
  });
}

void Master::keep_house() {
  server_later(kTick, kTick, [this] { keep_house(); });
  for (auto& [number, session] : server_->sessions) session->tick();
  resolve_dead_slots();
  if (auto tidied = tidy(); !tidied) world_.note(name_, tidied.error().text());
}

// master::resolve_dead_slots: under LMDB's writer lock.
void Master::resolve_dead_slots() {
  for (Environment& environment : environments_) {
    if (environment.slot.number.value == 0 || alive_.count(environment.slot.owner) != 0 ||
        environment.holder != 0)
      continue;
    if (auto resolved = resolve(server_->journal, environment); !resolved)
      world_.note(name_, resolved.error().text());
  }
}

// Segments go when no slave claims them and no environment could need them after a power loss.
Result<> Master::tidy() {
  HOTBACKUP_TRY(journal::prepare_spare(directory(), kSegmentBytes));
  UpdateNumber needless = truth_.published();
  for (const auto& [slave, has] : pins_) needless = std::min(needless, has);
  for (const Environment& environment : environments_)
    if (!environment.store.synced()) needless = std::min(needless, environment.last.previous());
  HOTBACKUP_ASSIGN(const auto segments, journal::list_segments(directory()));
  for (std::size_t i = 0; i + 1 < segments.size(); ++i) {
    const UpdateNumber last = segments[i + 1].previous();
    if (last > needless) break;
    pins_checker_.retires(last);
    HOTBACKUP_TRY(journal::retire_segment(directory(), segments[i], kSegmentBytes));
  }
  return {};
}

void Master::forget(Slave& slave) {
  world_.note(slave.name(), "is forgotten");
  pins_.erase(slave.number());
  pins_checker_.releases(slave.name());
}

void Master::released(Slave& slave) {
  forget(slave);
}

void Master::call(int slave) {
  server_later(Span(5'000), Span(60'000), [this, slave] {
    auto& sessions = server_->sessions;
    const auto current = sessions.find(slave);
    if (current != sessions.end() && current->second->over()) sessions.erase(slave);
    if (sessions.count(slave) == 0 && !network_.blocked(0, slave) && !network_.blocked(slave, 0)) {
      auto link = network_.connect(0, slave);
      if (slaves_[slave]->accept(link)) {
        auto session = std::make_unique<SenderSession>(*this, *slaves_[slave], link);
        SenderSession& called = *session;
        sessions[slave] = std::move(session);
        called.tick();
      }
    }
    call(slave);
  });
}

void Master::feed_all() {
  if (server_ == nullptr) return;
  for (auto& [number, session] : server_->sessions) session->feed_later();
}

}  // namespace hotbackup::sim
