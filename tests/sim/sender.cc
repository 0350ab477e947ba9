// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sender.h"

#include "master/frame_chunk.h"

namespace hotbackup::sim {
namespace {

constexpr std::size_t kChunkBytes = 3000;
constexpr std::chrono::milliseconds kCheckPeriod{200};

master::SenderMachine::Options options(const std::string& peer, NodeId node, WallTime time) {
  master::SenderMachine::Options options;
  options.peer_name = peer;
  options.check_period = kCheckPeriod;
  options.greeting_limit = std::chrono::milliseconds(1000);
  options.stall_limit = std::chrono::milliseconds(3000);
  options.window_bytes = 20'000;
  options.hello.node_name = "master";
  options.hello.node = node;
  options.hello.group = "g";
  options.hello.group_id = the_group();
  options.hello.time = time;
  options.hello.check_period = kCheckPeriod;
  return options;
}

}  // namespace

SenderSession::SenderSession(Master& master, Slave& slave, std::shared_ptr<Connection> link)
    : master_(master),
      slave_(slave),
      link_(std::move(link)),
      machine_(options(slave.name(), master.node_id(), master.world_.wall()), master.world_.now()) {
  reader_.set_limit(wire::kMessageBytesMax);
  link_->attach(0, *this);
}

SenderSession::~SenderSession() {
  if (!over_) link_->leave(0, master_.up_);
}

void SenderSession::end() {
  if (std::exchange(over_, true)) return;
  link_->leave(0, master_.up_);
}

void SenderSession::fail_with(const Error& error) {
  master_.world_.note(master_.name_, slave_.name() + ": " + error.text());
  const bool ours = error.code() == ErrorCode::kProtocol || error.code() == ErrorCode::kDiverged;
  master_.world_.require(!ours, error.text(), slave_.name());
  flush();
  end();
}

void SenderSession::on_room() {
  flush();
  feed_later();
}

void SenderSession::on_bytes(std::string_view bytes) {
  bytes.copy(reader_.prepare(bytes.size()), bytes.size());
  reader_.commit(bytes.size());
  while (!over_) {
    auto message = reader_.next();
    if (!message) return fail_with(message.error());
    if (!*message) break;
    auto received = machine_.receive(std::move(**message), master_.world_.now());
    note_numbers();
    if (!received) return fail_with(received.error());
  }
  feed_later();
}

void SenderSession::tick() {
  if (over_) return;
  machine_.set_published({the_epoch(), master_.truth_.published(), {}});
  if (auto ticked = machine_.tick(master_.world_.now()); !ticked) return fail_with(ticked.error());
  flush();
  feed_later();
}

void SenderSession::feed_later() {
  if (over_ || std::exchange(feed_due_, true)) return;
  master_.server_later(Span(10), Span(1'000), [this, &master = master_, number = slave_.number()] {
    // This session may be gone, and a later one be there.
    const auto session = master.server_->sessions.find(number);
    if (session == master.server_->sessions.end() || session->second.get() != this) return;
    feed_due_ = false;
    if (over_) return;
    if (auto fed = feed(); !fed) return fail_with(fed.error());
    flush();
  });
}

Result<> SenderSession::feed() {
  switch (machine_.phase()) {
    case master::SenderMachine::Phase::kComparing:
      return compare();
    case master::SenderMachine::Phase::kSeedWanted:
      return cut_seed();
    case master::SenderMachine::Phase::kSeeding:
      return send_seed();
    case master::SenderMachine::Phase::kStreaming:
      return stream();
    default:
      return {};
  }
}

Result<> SenderSession::compare() {
  const UpdateNumber number = machine_.peer_position().number;
  const UpdateNumber published = master_.truth_.published();
  Result<Position> here = fail(ErrorCode::kNotFound, "not published yet");
  if (number <= published) here = journal::position_at(master_.directory(), the_group(), number);
  if (!here && here.error().code() == ErrorCode::kGap) master_.gaps_.gap(slave_.name());
  HOTBACKUP_TRY(machine_.compare(published, here));
  master_.world_.note(slave_.name(), "is compared", number.value, published.value);
  return {};
}

// master::SeedSource::cut: under the journal lock, when no slot is open.
Result<> SenderSession::cut_seed() {
  journal::Journal& journal = master_.server_->journal;
  UpdateNumber number;
  ChainHash chain;
  {
    HOTBACKUP_ASSIGN(const auto lock, journal.lock());
    master_.settle(true);
    for (const auto& environment : master_.environments_)
      if (environment.slot.number.value != 0) return {};  // the next tick tries again
    number = master_.made();
    if (number.value == 0) return {};
    chain = master_.tail_->chain;
    seed_.clear();
    for (const auto& environment : master_.environments_)
      seed_.push_back(environment.store.content());
  }
  HOTBACKUP_TRY(journal.sync_through(number));
  master_.moved();
  seed_items_ = 0;
  wire::SeedBegin begin;
  begin.at = {the_epoch(), number, chain};
  for (std::size_t e = 0; e < seed_.size(); ++e) {
    update::EnvironmentBody environment;
    environment.number = EnvironmentNumber(static_cast<std::uint32_t>(e + 1));
    environment.name = "e" + std::to_string(e + 1);
    begin.environments.push_back(std::move(environment));
    seed_items_ += seed_[e].items.size();
  }
  begin.items = seed_items_;
  master_.world_.note(slave_.name(), "gets a seed", number.value, seed_items_);
  // A copy at this number needs everything after it.
  master_.pins_[slave_.number()] = number;
  master_.pins_checker_.pins(slave_.name(), number);
  machine_.begin_seed(std::move(begin));
  seed_next_ = 0;
  feed_later();
  return {};
}

Result<> SenderSession::send_seed() {
  if (!machine_.wants_seed()) return {};
  if (seed_next_ == seed_.size()) {
    machine_.end_seed(seed_items_);
    return {};
  }
  wire::SeedPart part;
  part.environment = EnvironmentNumber(static_cast<std::uint32_t>(seed_next_ + 1));
  update::BodyWriter body(part.body);
  body.add({update::OperationKind::kCreate, {true, {}, 0}, {}, {}, 0});
  for (const auto& [key, value] : seed_[seed_next_].items)
    body.add({update::OperationKind::kPut, {true, {}, 0}, key, value, 0});
  ++seed_next_;
  machine_.seed_part(std::move(part));
  feed_later();
  return {};
}

Result<> SenderSession::stream() {
  if (!journal_) {
    const UpdateNumber from = machine_.sent().next();
    journal_.emplace(master_.directory(), the_group());
    if (auto sought = journal_->seek(from); !sought) {
      journal_.reset();
      return sought;
    }
    HOTBACKUP_ASSIGN(const auto oldest, journal::oldest_update(master_.directory()));
    master_.gaps_.streams(slave_.name(), from, oldest);
    UpdateNumber& pin = master_.pins_[slave_.number()];
    pin = std::max(pin, from.previous());
    master_.pins_checker_.pins(slave_.name(), from.previous());
    master_.world_.note(slave_.name(), "is streamed to from", from.value);
  }
  while (machine_.wants_frames()) {
    const UpdateNumber published = master_.truth_.published();
    auto chunk = master::read_chunk(*journal_, published, kChunkBytes);
    if (!chunk && chunk.error().code() == ErrorCode::kCorrupt)
      return fail(
          machine_.refuse(wire::RefuseReason::kDamaged, ErrorCode::kCorrupt, chunk.error().text()));
    if (!chunk) return fail(chunk.error());
    if (chunk->frames.empty()) break;
    machine_.add_frames(std::move(chunk->frames), chunk->through, chunk->at_boundary);
  }
  return {};
}

void SenderSession::note_numbers() {
  const auto pin = master_.pins_.find(slave_.number());
  if (machine_.phase() == master::SenderMachine::Phase::kStreaming && pin != master_.pins_.end() &&
      machine_.journaled() > pin->second)
    pin->second = machine_.journaled();
}

void SenderSession::flush() {
  if (over_) return;
  const Time now = master_.world_.now();
  if (writing_) {
    if (!link_->room(0)) return;
    machine_.written(now);
    writing_ = false;
  }
  while (auto message = machine_.next_output(now)) {
    if (auto* heartbeat = std::get_if<wire::Heartbeat>(&*message))
      heartbeat->time = master_.world_.wall();
    link_->send(0, wire::encode(*message));
    if (!link_->room(0)) {
      writing_ = true;
      return;
    }
    machine_.written(now);
  }
}

}  // namespace hotbackup::sim
