// SPDX-License-Identifier: Apache-2.0
#include "master/session.h"

#include <spdlog/spdlog.h>

#include <asio/this_coro.hpp>
#include <limits>

#include "common/control/known_difference.h"
#include "common/net/deadline.h"
#include "common/os/process.h"
#include "common/retention/claims.h"
#include "common/service/server.h"
#include "master/capture_watch.h"
#include "master/frame_chunk.h"
#include "master/seed_source.h"

namespace hotbackup::master {
namespace {

constexpr std::size_t kChunkBytes = 512 * 1024;
constexpr std::chrono::milliseconds kGoodbyeLimit{1000};
constexpr char kDamaged[] = "HB-journal-damaged";
constexpr char kRulesDiffer[] = "HB-rules-differ";
constexpr char kNeedsSeed[] = "HB-slave-needs-seed";
constexpr char kSlaveAhead[] = "HB-slave-ahead";

SenderMachine::Time now() {
  return std::chrono::steady_clock::now();
}
std::int64_t wall_ns() {
  return wall_now().time_since_epoch().count();
}

std::int64_t lease_of(const control::Group& group) {
  return group.layout().roles.lease_ns.load();
}

Result<std::unique_ptr<journal::Reader>> open_reader(control::Group& group, UpdateNumber from) {
  auto reader = std::make_unique<journal::Reader>(group.journal_directory(), group.id());
  HOTBACKUP_TRY(reader->seek(from));
  return reader;
}

struct Compared {
  Result<Position> here;
  std::optional<retention::Claim> claim;
};

Compared look_up(control::Group& group, std::string_view peer, UpdateNumber number) {
  Compared found{fail(ErrorCode::kNotFound, "not published yet"), retention::claim_of(group, peer)};
  if (number <= group.published())
    found.here = journal::position_at(group.journal_directory(), group.id(), number);
  return found;
}

/// The slave's history is this one through `at`: from now on the journal is kept for it.
Result<> take_claim(control::Group& group, std::string_view peer, UpdateNumber number) {
  HOTBACKUP_ASSIGN(const auto at,
                   journal::position_at(group.journal_directory(), group.id(), number));
  const auto claim = retention::claim_of(group, peer);
  const bool stands = claim && !claim->needs_seed && claim->seed_from.value == 0 &&
                      claim->at.number.value != 0 && claim->at.number <= number;
  return stands ? Result<>() : retention::hold(group, peer, at);
}

Result<std::vector<UncapturedWriter>> look_for_writers(control::Group& group) {
  HOTBACKUP_TRY(join_existing(group));
  return uncaptured_writers(group);
}

/// Every configured peer has a copy that was seeded at the result or later.
UpdateNumber seeded_everywhere(control::Group& group, const config::Group& configuration) {
  UpdateNumber least(std::numeric_limits<std::uint64_t>::max());
  for (const std::string& name : configuration.peers) {
    const control::PeerEntry* peer = group.peer(name);
    least = std::min(least, UpdateNumber(peer == nullptr ? 0 : peer->seeded_at.load()));
  }
  return least;
}

}  // namespace

SenderMachine::Options Session::machine_options() const {
  const control::Group& group = context_.group;
  SenderMachine::Options options;
  options.peer_name = entry_.name;
  options.check_period = context_.configuration.check_period;
  wire::Hello& hello = options.hello;
  hello.program = service::program_version();
  hello.node_name = context_.node_name;
  hello.node = context_.node;
  hello.group = context_.configuration.name;
  hello.group_id = group.id();
  hello.published = {group.epoch(), group.published(), {}};
  hello.time = wall_now();
  hello.check_period = options.check_period;
  // Four signs of life in a lease: one that is late does not end it.
  if (lease_of(group) != 0)
    options.stamp_period = std::max(std::chrono::milliseconds(lease_of(group) / 4'000'000),
                                    std::chrono::milliseconds(10));
  if (auto rules = group.keep_local()) hello.keep_local = std::move(*rules);
  return options;
}

Session::Session(const GroupContext& context, control::PeerEntry& entry, net::TcpStream stream)
    : context_(context),
      entry_(entry),
      rules_ticket_(context.group.keep_local_ticket()),
      link_(std::move(stream)),
      machine_(machine_options(), now()),
      seed_worker_("seed"),
      output_(context.executor),
      feed_(context.executor),
      pause_(context.executor),
      greeted_(wall_now()) {}

bool Session::worked() const {
  return streaming_since_ && now() - *streaming_since_ >= context_.configuration.check_period;
}

void Session::end(Error error) {
  if (!error_) error_ = std::move(error);
}

asio::awaitable<Result<>> Session::run() {
  net::TaskGroup tasks(context_.executor, net::TaskGroup::End::kAllTogether);
  tasks.spawn(receive_loop());
  tasks.spawn(send_loop());
  tasks.spawn(feed_loop());
  tasks.spawn(tick_loop());
  co_await asio::this_coro::throw_if_cancelled(false);
  auto joined = co_await tasks.join();
  if (!joined && joined.error().code() == ErrorCode::kCancelled) co_return joined;
  if (!joined) end(std::move(joined).error());
  if (!machine_.writing()) (void)co_await net::within(kGoodbyeLimit, "goodbye", send_rest());
  link_.close();
  if (!error_) end(Error(ErrorCode::kDisconnected, "the link ended"));
  co_return fail(*error_);
}

// A refusal that waits to be sent.
asio::awaitable<Result<>> Session::send_rest() {
  while (auto message = machine_.next_output(now())) {
    if (!std::holds_alternative<wire::Refuse>(*message)) continue;
    std::string bytes = wire::encode(*message);
    Result<> sent = co_await link_.send(std::move(bytes));
    if (!sent) co_return sent;
  }
  co_return Result<>();
}

asio::awaitable<void> Session::receive_loop() {
  while (true) {
    Result<wire::Message> message = co_await link_.receive();
    if (!message) {
      end(std::move(message).error());
      co_return;
    }
    if (const auto* welcome = std::get_if<wire::Welcome>(&*message)) note_clock(*welcome);
    if (const auto* heartbeat = std::get_if<wire::Heartbeat>(&*message))
      context_.group.hear_clock(entry_, heartbeat->time - wall_now());
    auto received = machine_.receive(std::move(*message), now());
    entry_.heard_ns.store(wall_ns());
    if (!received) {
      hear_refusal();
      if (machine_.refusal() == wire::RefuseReason::kRulesDiffer)
        context_.group.incidents().raise(kRulesDiffer, entry_.name, received.error().text());
      end(std::move(received).error());
      co_return;
    }
    link_.handshake_done();
    // It follows this master: nobody was promoted whom it knows of.
    context_.group.confirm_epoch();
    // The first sign of life answers the hello: from then on this peer could be promoted.
    const std::int64_t answered_ns = std::max(machine_.echo_ns(), begun_ns_);
    if (answered_ns > entry_.confirmed_ns.load()) context_.group.renew_lease(entry_, answered_ns);
    entry_.way_home.store(machine_.way_home());
    note_numbers();
    feed_.notify();
  }
}

// The peer knows of a newer master: this node's gate closes before anything else happens.
void Session::hear_refusal() {
  if (machine_.refusal() != wire::RefuseReason::kOldEpoch) return;
  const auto heard = context_.group.hear_epoch(machine_.told_epoch(), machine_.told_master());
  if (!heard) spdlog::error("{}: {}", context_.configuration.name, heard.error().text());
}

// The welcome was written somewhere between the hello and now.
void Session::note_clock(const wire::Welcome& welcome) {
  const auto half = (wall_now() - greeted_) / 2;
  context_.group.note_clock(entry_, welcome.time - (greeted_ + half), half);
}

asio::awaitable<void> Session::send_loop() {
  while (true) {
    while (auto message = machine_.next_output(now())) {
      if (auto* heartbeat = std::get_if<wire::Heartbeat>(&*message)) {
        heartbeat->time = wall_now();
        if (lease_of(context_.group) != 0) heartbeat->stamp_ns = os::boottime_ns();
      }
      std::string bytes = wire::encode(*message);
      message.reset();
      Result<> sent = co_await link_.send(std::move(bytes));
      if (!sent) {
        // The peer may have said why it closed: that is read before this counts.
        co_await pause_after_failure();
        end(std::move(sent).error());
        co_return;
      }
      machine_.written(now());
      feed_.notify();
    }
    co_await output_.wait();
    // What is taken now could not be sent any more: it is left to send_rest.
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
  }
}

asio::awaitable<void> Session::pause_after_failure() {
  net::Signal never(context_.executor);
  co_await never.wait_for(kGoodbyeLimit);
}

asio::awaitable<void> Session::tick_loop() {
  auto period = context_.configuration.check_period / 4;
  if (lease_of(context_.group) != 0)
    period = std::min(period, std::chrono::milliseconds(lease_of(context_.group) / 8'000'000));
  net::Signal never(context_.executor);
  while (true) {
    machine_.set_published({context_.group.epoch(), context_.group.published(), {}});
    auto ticked = machine_.tick(now());
    if (!ticked) {
      end(std::move(ticked).error());
      co_return;
    }
    if (context_.group.keep_local_ticket() != rules_ticket_) {
      end(Error(ErrorCode::kDisconnected, "the keep-local rules have changed"));
      co_return;
    }
    output_.notify();
    co_await never.wait_for(std::max(period, std::chrono::milliseconds(10)));
  }
}

asio::awaitable<void> Session::feed_loop() {
  while (true) {
    Result<> fed = co_await feed();
    if (!fed) {
      end(std::move(fed).error());
      co_return;
    }
    output_.notify();
  }
}

asio::awaitable<Result<>> Session::feed() {
  if (released_) return released();
  switch (machine_.phase()) {
    case SenderMachine::Phase::kComparing:
      return compare();
    case SenderMachine::Phase::kProbing:
      return probe();
    case SenderMachine::Phase::kFetching:
      return answer_fetch();
    case SenderMachine::Phase::kSeedWanted:
      return seed();
    case SenderMachine::Phase::kStreaming:
      return stream();
    default:
      break;
  }
  return idle();
}

asio::awaitable<Result<>> Session::released() {
  co_return fail(machine_.refuse(wire::RefuseReason::kHistoryGone, ErrorCode::kGap,
                                 "the journal has reached its limit and " +
                                     std::string(entry_.name) + " was released: it needs a seed"));
}

asio::awaitable<Result<>> Session::idle() {
  co_await feed_.wait();
  co_return Result<>();
}

asio::awaitable<Result<>> Session::compare() {
  control::Group& group = context_.group;
  const UpdateNumber number = machine_.peer_position().number;
  const UpdateNumber published = group.published();
  entry_.sent.store(number.value);
  const std::string_view peer(entry_.name);
  auto look = [&group, peer, number] { return look_up(group, peer, number); };
  Compared found = co_await context_.disk.run(look);
  const Result<Position>& here = found.here;
  if (!here && here.error().code() == ErrorCode::kCorrupt)
    group.incidents().raise(kDamaged, "", here.error().text());
  KnownSlave known;
  if (found.claim) known = {found.claim->at, found.claim->needs_seed};
  auto verdict = machine_.compare(published, here, known);
  if (verdict) group.set_link(entry_, control::LinkState::kConnected);
  if (!verdict && verdict.error().code() == ErrorCode::kDiverged)
    group.incidents().raise(kSlaveAhead, entry_.name, verdict.error().text());
  if (!verdict && verdict.error().code() == ErrorCode::kGap)
    group.incidents().raise(kNeedsSeed, entry_.name, verdict.error().text());
  co_return verdict;
}

// Before a peer's first seed, and before one that mends what was written without capture: programs
// that run since before the group was made write what nobody sees. They are named until they were
// restarted under capture.
asio::awaitable<Result<>> Session::wait_for_capture() {
  control::Group& group = context_.group;
  std::string said;
  while (true) {
    auto look = [&group] { return look_for_writers(group); };
    auto writers = co_await context_.disk.run(look);
    if (!writers) co_return fail(std::move(writers).error());
    if (writers->empty()) co_return Result<>();
    const std::string text = describe(*writers);
    group.set_link(entry_, control::LinkState::kWaitingForCapture, text);
    if (text != said) spdlog::warn("{}: {}: {}", context_.configuration.name, entry_.name, text);
    said = text;
    co_await pause_.wait_for(context_.configuration.check_period);
  }
}

asio::awaitable<Result<>> Session::seed() {
  control::Group& group = context_.group;
  if (entry_.seeded.load() == 0 || group.is_unlogged()) {
    Result<> waited = co_await wait_for_capture();
    if (!waited) co_return waited;
  }
  group.set_link(entry_, control::LinkState::kSeeding);
  // Before the cut: what is published now lies in it, and what follows is kept for this slave.
  const std::string_view peer(entry_.name);
  auto claim = [&group, peer] { return retention::hold_for_seed(group, peer, group.published()); };
  const auto claimed = co_await seed_worker_.run(claim);
  if (!claimed) co_return claimed;
  auto cut = [&group] { return SeedSource::cut(group); };
  auto source = co_await seed_worker_.run(cut);
  if (!source) co_return fail(std::move(source).error());
  SeedSource& content = **source;
  spdlog::info("{}: {}: seeding {} environments, {} items, at update {}",
               context_.configuration.name, entry_.name, content.environments().size(),
               human_count(content.items()), human_count(content.position().number.value));
  seeded_at_ = content.position().number;
  machine_.begin_seed({content.position(), content.environments(), content.items()});
  note_numbers();
  output_.notify();
  std::uint64_t bytes = 0;
  const auto begun = now();
  while (true) {
    while (!machine_.wants_seed()) co_await feed_.wait();
    co_await keep_to_rate(begun, bytes);
    SeedSource::Part part;
    auto read = [&content, &part] { return content.next(part); };
    const auto more = co_await seed_worker_.run(read);
    if (!more) co_return fail(more.error());
    if (!*more) break;
    bytes += part.body.size();
    group.set_link(entry_, control::LinkState::kSeeding, human_bytes(bytes) + " sent");
    machine_.seed_part({part.environment, std::move(part.body)});
    output_.notify();
  }
  machine_.end_seed(content.given());
  output_.notify();
  // Off this thread: closing environments may wait for the disk.
  auto drop = [&source] {
    source->reset();
    return true;
  };
  co_await seed_worker_.run(drop);
  co_return Result<>();
}

asio::awaitable<void> Session::keep_to_rate(SenderMachine::Time begun, std::uint64_t bytes) {
  if (!rate_) co_return;
  const std::chrono::duration<double> due(static_cast<double>(bytes) / static_cast<double>(*rate_));
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - (now() - begun));
  if (left.count() > 0) co_await pause_.wait_for(left);
}

asio::awaitable<Result<>> Session::begin_streaming() {
  control::Group& group = context_.group;
  const UpdateNumber number = machine_.sent();
  const std::string_view peer(entry_.name);
  // Before its claim stands again, which would call for another one.
  if (seeded_at_.value != 0) entry_.seeded_at.store(seeded_at_.value);
  auto claim = [&group, peer, number] { return take_claim(group, peer, number); };
  const Result<> claimed = co_await context_.disk.run(claim);
  if (!claimed) co_return claimed;
  auto open = [&group, number] { return open_reader(group, number.next()); };
  auto reader = co_await context_.disk.run(open);
  if (!reader) co_return fail(std::move(reader).error());
  reader_ = std::move(*reader);
  group.incidents().clear(kNeedsSeed, peer);
  group.incidents().clear("HB-slave-forgotten", peer);
  group.incidents().clear(kSlaveAhead, peer);
  streaming_since_ = now();
  entry_.seeded.store(1);
  context_.group.incidents().clear(kRulesDiffer, entry_.name);
  context_.group.set_link(entry_, control::LinkState::kStreaming);
  spdlog::info("{}: {}: streaming from update {}", context_.configuration.name, entry_.name,
               human_count(number.next().value));
  if (seeded_at_.value == 0) co_return Result<>();
  const UpdateNumber through = seeded_everywhere(group, context_.configuration);
  auto mend = [&group, through, peer]() -> Result<> {
    HOTBACKUP_TRY(control::forget_difference(group, peer));
    return group.mend_unlogged(through);
  };
  co_return co_await context_.disk.run(mend);
}

asio::awaitable<Result<>> Session::stream() {
  control::Group& group = context_.group;
  if (reader_ == nullptr) {
    Result<> begun = co_await begin_streaming();
    if (!begun) co_return begun;
  }
  auto read = read_ahead();
  if (!read && read.error().code() == ErrorCode::kCorrupt) {
    group.incidents().raise(kDamaged, "", read.error().text());
    output_.notify();
    while (!machine_.drained()) co_await feed_.wait();
    co_return fail(
        machine_.refuse(wire::RefuseReason::kDamaged, ErrorCode::kCorrupt, read.error().text()));
  }
  if (!read) co_return read;
  if (!found_whole_ && machine_.sent() >= group.published()) {
    found_whole_ = true;
    group.incidents().clear(kDamaged);
  }
  note_numbers();
  output_.notify();
  co_await feed_.wait();
  co_return Result<>();
}

// Inline, not on a worker: what was just written lies in the page cache, and a hop to another
// thread would cost more than the read.
Result<> Session::read_ahead() {
  while (machine_.wants_frames()) {
    HOTBACKUP_ASSIGN(auto chunk, read_chunk(*reader_, context_.group.published(), kChunkBytes));
    if (chunk.frames.empty()) break;
    machine_.add_frames(std::move(chunk.frames), chunk.through, chunk.at_boundary);
  }
  return {};
}

void Session::note_numbers() {
  if (!machine_.shares_history()) return;
  entry_.sent.store(machine_.sent().value);
  const std::uint64_t journaled = machine_.journaled().value;
  const std::uint64_t applied = machine_.applied().value;
  const bool moved = entry_.journaled.exchange(journaled) != journaled;
  if (entry_.applied.exchange(applied) != applied || moved) context_.group.note_acknowledged();
}

}  // namespace hotbackup::master
