// SPDX-License-Identifier: Apache-2.0
#include "slave/session.h"

#include <spdlog/spdlog.h>

#include <asio/this_coro.hpp>

#include "common/net/deadline.h"
#include "common/os/process.h"

namespace hotbackup::slave {
namespace {

constexpr std::chrono::milliseconds kTick{250};
constexpr std::chrono::milliseconds kGoodbyeLimit{1000};
constexpr std::chrono::milliseconds kAnswerLimit{5000};
constexpr std::chrono::milliseconds kQuestionLimit{60'000};

ReceiverMachine::Time now() {
  return std::chrono::steady_clock::now();
}

bool is_rejoin(const Work& work) {
  return std::holds_alternative<wire::Probe>(work) || std::holds_alternative<wire::Rewind>(work) ||
         std::holds_alternative<wire::FetchEnd>(work);
}

/// A disk that is full or fails may work again: the master is to call again.
wire::RefuseReason refusal_for(const Error& error, wire::RefuseReason otherwise) {
  const bool disk = error.code() == ErrorCode::kNoSpace || error.code() == ErrorCode::kIo;
  return disk ? wire::RefuseReason::kNotReady : otherwise;
}

}  // namespace

Session::Session(asio::any_io_executor executor, Hosts hosts, net::TcpStream stream)
    : executor_(executor),
      hosts_(std::move(hosts)),
      link_(std::move(stream)),
      machine_({}, now()),
      queue_(executor),
      tasks_(executor, net::TaskGroup::End::kAllTogether),
      output_(executor),
      accepted_(wall_now()) {}

void Session::end(Error error) {
  if (!error_) error_ = std::move(error);
}

void Session::stop(Error why) {
  end(std::move(why));
  tasks_.cancel();
}

asio::awaitable<void> Session::run() {
  tasks_.spawn(receive_loop());
  tasks_.spawn(send_loop());
  tasks_.spawn(work_loop());
  tasks_.spawn(tick_loop());
  co_await asio::this_coro::throw_if_cancelled(false);
  auto joined = co_await tasks_.join();
  // Whoever cancels now waits until this has left its group.
  co_await asio::this_coro::throw_if_cancelled(false);
  if (!joined) end(std::move(joined).error());
  if (service_ != nullptr) co_await service_->abandon_seed();
  if (!machine_.writing()) (void)co_await net::within(kGoodbyeLimit, "goodbye", send_rest());
  link_.close();
  finish();
}

void Session::finish() {
  const std::string why = error_ ? error_->text() : "the link ended";
  const bool cancelled = error_ && error_->code() == ErrorCode::kCancelled;
  if (service_ == nullptr) {
    if (!cancelled) hosts_.note_stranger(why);
    return;
  }
  if (!cancelled)
    spdlog::warn("{}: {}: {}", service_->configuration().name, machine_.peer().node_name, why);
  if (entry_ != nullptr)
    service_->group().set_link(*entry_, control::LinkState::kWaitingForCall, why);
  service_->leave(*this);
}

// A refusal that waits to be sent.
asio::awaitable<Result<>> Session::send_rest() {
  while (auto message = machine_.next_output(now())) {
    if (!std::holds_alternative<wire::Refuse>(*message)) break;
    std::string bytes = wire::encode(*message);
    Result<> sent = co_await link_.send(std::move(bytes));
    if (!sent) co_return sent;
  }
  co_return Result<>();
}

asio::awaitable<void> Session::receive_loop() {
  while (true) {
    if (queue_.full()) {
      machine_.set_reading(false, now());
      co_await queue_.wait_for_room();
      machine_.set_reading(true, now());
    }
    Result<wire::Message> message = co_await link_.receive();
    if (!message) co_return co_await finish_work(std::move(message).error());
    if (auto* ask = std::get_if<wire::Ask>(&*message);
        ask != nullptr && machine_.phase() == ReceiverMachine::Phase::kGreeting)
      co_return co_await answer_questions(std::move(*ask));
    if (const auto* heartbeat = std::get_if<wire::Heartbeat>(&*message); heartbeat && entry_)
      service_->group().hear_clock(*entry_, heartbeat->time - wall_now());
    auto work = machine_.receive(std::move(*message), now());
    if (!work) co_return co_await finish_work(std::move(work).error());
    if (entry_ != nullptr) {
      entry_->heard_ns.store(wall_now().time_since_epoch().count());
      entry_->heard_boot_ns.store(os::boottime_ns());
    }
    note_numbers();
    if (*work) queue_.put(std::move(**work));
  }
}

// A command on another node. What it asks for may take long; it closes the link when it has heard
// enough.
asio::awaitable<void> Session::answer_questions(wire::Ask ask) {
  asked_ = true;
  while (true) {
    wire::Answer answer = co_await hosts_.answer(std::move(ask));
    if (answer.exit == 0) link_.handshake_done();  // a peer that may ask: it may send more at once
    std::string bytes = wire::encode(answer);
    Result<> sent =
        co_await net::within(kAnswerLimit, "the answer is not read", link_.send(std::move(bytes)));
    if (!sent) break;
    Result<wire::Message> next = fail(ErrorCode::kCancelled, "");
    Result<> heard =
        co_await net::within(kQuestionLimit, "no further question", receive_into(next));
    auto* question = heard && next ? std::get_if<wire::Ask>(&*next) : nullptr;
    if (question == nullptr) break;
    ask = std::move(*question);
  }
  end(Error(ErrorCode::kCancelled, "the questions are answered"));
}

asio::awaitable<Result<>> Session::receive_into(Result<wire::Message>& message) {
  message = co_await link_.receive();
  co_return Result<>();
}

// The link is over, but what came over it before is journaled all the same.
asio::awaitable<void> Session::finish_work(Error why) {
  machine_.set_reading(false, now());
  if (service_ != nullptr) co_await queue_.wait_until_idle();
  if (service_ != nullptr) co_await service_->heard(why, machine_.peer().node_name);
  end(std::move(why));
}

asio::awaitable<void> Session::send_loop() {
  while (true) {
    while (auto message = machine_.next_output(now())) {
      if (auto* heartbeat = std::get_if<wire::Heartbeat>(&*message)) {
        heartbeat->time = wall_now();
        if (entry_ != nullptr) heartbeat->way_home = entry_->way_home.load();
      }
      std::string bytes = wire::encode(*message);
      Result<> sent = co_await link_.send(std::move(bytes));
      if (!sent) {
        // The receiving side sees the end as well, after all that came before it.
        net::Signal never(executor_);
        co_await never.wait_for(kGoodbyeLimit);
        end(std::move(sent).error());
        co_return;
      }
      machine_.written(now());
    }
    co_await output_.wait();
    // What is taken now could not be sent any more: it is left to send_rest.
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
  }
}

asio::awaitable<void> Session::tick_loop() {
  net::Signal never(executor_);
  while (true) {
    auto ticked = asked_ ? Result<>() : machine_.tick(now());
    if (!ticked) {
      end(std::move(ticked).error());
      co_return;
    }
    if (service_ != nullptr && service_->group().keep_local_ticket() != rules_ticket_) {
      end(Error(ErrorCode::kDisconnected, "the keep-local rules have changed"));
      co_return;
    }
    output_.notify();
    auto pause = kTick;
    if (service_ != nullptr) pause = std::min(pause, service_->configuration().check_period / 4);
    co_await never.wait_for(std::max(pause, std::chrono::milliseconds(10)));
  }
}

asio::awaitable<void> Session::work_loop() {
  while (true) {
    std::vector<Work> work = co_await queue_.take();
    Result<> done;
    if (auto* hello = std::get_if<wire::Hello>(&work.front()))
      done = co_await greet(std::move(*hello));
    else if (is_rejoin(work.front()))
      done = co_await rejoin(std::move(work.front()));
    else
      done = co_await perform(std::move(work));
    if (!done) {
      end(std::move(done).error());
      co_return;
    }
    note_numbers();
    output_.notify();
  }
}

Error Session::refuse(const Refusal& why) {
  return machine_.refuse(why.reason, why.error.code(), why.error.text(), why.epoch, why.master);
}

asio::awaitable<Result<>> Session::greet(wire::Hello hello) {
  auto found = hosts_.find_group(hello);
  if (!found) co_return fail(refuse(found.error()));
  GroupService& service = **found;
  rules_ticket_ = service.group().keep_local_ticket();
  auto admitted = co_await service.admit(*this, hello);
  if (!admitted) co_return fail(refuse(admitted.error()));
  service_ = &service;
  entry_ = service.group().peer(hello.node_name);
  if (entry_ != nullptr) {  // the hello was written somewhere between the accept and now
    const auto half = (wall_now() - accepted_) / 2;
    service.group().note_clock(*entry_, hello.time - (accepted_ + half), half);
  }
  Result<Position> position = co_await service.position();
  if (!position)
    co_return fail(machine_.refuse(refusal_for(position.error(), wire::RefuseReason::kDamaged),
                                   position.error().code(), position.error().text()));
  wire::Welcome welcome;
  welcome.program = service::program_version();
  welcome.node_name = service.node().configuration.node.name;
  welcome.node = service.node().id;
  welcome.journaled = *position;
  welcome.applied = std::min(service.applied(), position->number);
  welcome.time = wall_now();
  welcome.check_period = service.configuration().check_period;
  machine_.welcome(std::move(welcome), service.configuration().check_period);
  link_.handshake_done();
  spdlog::info("{}: {} has called from {}, journaled {}", service.configuration().name,
               hello.node_name, link_.peer_address(), human_count(position->number.value));
  if (entry_ != nullptr) service.group().set_link(*entry_, control::LinkState::kConnected);
  co_return Result<>();
}

asio::awaitable<Result<>> Session::perform(std::vector<Work> work) {
  const bool seed_begins = std::holds_alternative<wire::SeedBegin>(work.front());
  const bool seed_ends = std::holds_alternative<wire::SeedEnd>(work.front());
  UpdateNumber through;
  if (const auto* frames = std::get_if<CheckedFrames>(&work.back())) through = frames->through;
  Result<> done = co_await service_->perform(std::move(work));
  if (!done) {
    const Error& error = done.error();
    auto reason = refusal_for(error, wire::RefuseReason::kOther);
    if (error.code() == ErrorCode::kRefused) reason = wire::RefuseReason::kNotEmpty;
    co_return fail(machine_.refuse(reason, error.code(), error.text()));
  }
  if (seed_begins && entry_ != nullptr)
    service_->group().set_link(*entry_, control::LinkState::kSeeding);
  if (seed_ends) {
    machine_.seeded();
    spdlog::info("{}: the seed at update {} is complete", service_->configuration().name,
                 human_count(machine_.journaled().value));
  }
  if (through.value != 0) machine_.journaled(through);
  co_return Result<>();
}

void Session::applied(UpdateNumber number) {
  machine_.applied(number);
  note_numbers();
  output_.notify();
}

void Session::note_numbers() {
  if (service_ == nullptr || entry_ == nullptr) return;
  if (machine_.phase() == ReceiverMachine::Phase::kStreaming &&
      entry_->link.load() != static_cast<std::uint32_t>(control::LinkState::kStreaming))
    service_->group().set_link(*entry_, control::LinkState::kStreaming);
  if (machine_.phase() == ReceiverMachine::Phase::kStreaming) service_->note_streaming();
  entry_->published.store(machine_.published().value);
  entry_->sent.store(machine_.received().value);
  entry_->applied.store(machine_.applied().value);
  const std::uint64_t journaled = machine_.journaled().value;
  if (entry_->journaled.exchange(journaled) != journaled) service_->group().notify_acknowledged();
}

}  // namespace hotbackup::slave
