// SPDX-License-Identifier: Apache-2.0
#include "slave/receiver_machine.h"

#include <algorithm>

#include "common/base/check.h"

namespace hotbackup::slave {

Result<> for_each_frame(std::string_view frames,
                        const std::function<Result<>(const journal::FrameView&)>& visit) {
  while (!frames.empty()) {
    journal::FrameView view;
    HOTBACKUP_ASSIGN(view.header, journal::decode(frames.substr(0, journal::kFrameHeaderBytes)));
    const std::size_t size = journal::frame_bytes(view.header.body_bytes);
    if (size > frames.size()) return fail(ErrorCode::kCorrupt, "a frame that is cut off");
    view.bytes = frames.substr(0, size);
    view.body = frames.substr(journal::kFrameHeaderBytes, view.header.body_bytes);
    HOTBACKUP_TRY(visit(view));
    frames.remove_prefix(size);
  }
  return {};
}

ReceiverMachine::ReceiverMachine(Options options, Time now)
    : options_(options), begun_(now), heard_(now), said_(now) {}

tl::unexpected<Error> ReceiverMachine::unexpected(const wire::Message& message) const {
  const std::string who = hello_.node_name.empty() ? "the caller" : hello_.node_name;
  return fail(ErrorCode::kProtocol,
              who + " sent a " + std::string(message_name(message)) + " where none belongs");
}

Error ReceiverMachine::refuse(wire::RefuseReason reason, ErrorCode code, std::string text,
                              const Epoch& epoch, const std::string& master) {
  reply_ = wire::Refuse{reason, text, epoch, master};
  phase_ = Phase::kOver;
  return Error(code, std::move(text));
}

Result<std::optional<Work>> ReceiverMachine::receive(wire::Message message, Time now) {
  heard_ = now;
  if (auto* refuse = std::get_if<wire::Refuse>(&message)) {
    phase_ = Phase::kOver;
    return fail(
        wire::refused_by(hello_.node_name.empty() ? "the caller" : hello_.node_name, *refuse));
  }
  if (phase_ == Phase::kGreeting) {
    if (auto* hello = std::get_if<wire::Hello>(&message)) return on_hello(std::move(*hello));
    return unexpected(message);
  }
  if (const auto* heartbeat = std::get_if<wire::Heartbeat>(&message)) {
    if (phase_ == Phase::kChecking) return unexpected(message);
    published_ = std::max(published_, heartbeat->published.number);
    if (heartbeat->stamp_ns != 0) {
      echo_ns_ = heartbeat->stamp_ns;
      heartbeat_ = echo_due_ = true;
    }
    return std::nullopt;
  }
  if (phase_ == Phase::kVerdict) {
    if (const auto* stream = std::get_if<wire::Stream>(&message)) return on_stream(*stream);
    if (auto* begin = std::get_if<wire::SeedBegin>(&message))
      return on_seed_begin(std::move(*begin));
    if (auto* probe = std::get_if<wire::Probe>(&message)) return Work(std::move(*probe));
    if (const auto* rewind = std::get_if<wire::Rewind>(&message)) return on_rewind(*rewind);
  } else if (phase_ == Phase::kFetching) {
    if (auto* part = std::get_if<wire::SeedPart>(&message)) return Work(std::move(*part));
    if (auto* end = std::get_if<wire::FetchEnd>(&message)) {
      phase_ = Phase::kRewinding;
      return Work(*end);
    }
  } else if (phase_ == Phase::kSeeding) {
    if (auto* part = std::get_if<wire::SeedPart>(&message)) return Work(std::move(*part));
    if (auto* end = std::get_if<wire::SeedEnd>(&message)) {
      phase_ = Phase::kSeedEnded;
      return Work(*end);
    }
  } else if (phase_ == Phase::kStreaming) {
    if (auto* frames = std::get_if<wire::Frames>(&message)) return on_frames(std::move(*frames));
  }
  return unexpected(message);
}

Result<std::optional<Work>> ReceiverMachine::on_hello(wire::Hello hello) {
  hello_ = std::move(hello);
  if (wire::common_protocol(hello_.protocol, hello_.protocol_oldest) == 0)
    return fail(refuse(
        wire::RefuseReason::kVersion, ErrorCode::kVersion,
        wire::no_common_protocol(hello_.node_name, hello_.protocol, hello_.protocol_oldest)));
  published_ = hello_.published.number;
  phase_ = Phase::kChecking;
  return Work(hello_);
}

void ReceiverMachine::welcome(wire::Welcome welcome, std::chrono::milliseconds check_period) {
  HOTBACKUP_CHECK(phase_ == Phase::kChecking);
  options_.check_period = check_period;
  position_ = welcome.journaled;
  received_ = journaled_ = position_.number;
  published_ = std::max(published_, received_);
  applied_ = welcome.applied;
  reply_ = std::move(welcome);
  phase_ = Phase::kVerdict;
}

Result<std::optional<Work>> ReceiverMachine::on_stream(const wire::Stream& stream) {
  if (position_.number.value == 0 || stream.from != position_.number.next())
    return fail(ErrorCode::kProtocol, hello_.node_name + " would stream from update " +
                                          std::to_string(stream.from.value) + ", not from " +
                                          std::to_string(position_.number.next().value));
  sequence_.emplace(hello_.group_id, stream.from, position_.chain);
  phase_ = Phase::kStreaming;
  return std::nullopt;
}

Result<std::optional<Work>> ReceiverMachine::on_seed_begin(wire::SeedBegin begin) {
  if (begin.at.number.value == 0 || begin.at.number < position_.number)
    return fail(ErrorCode::kProtocol, hello_.node_name + " would seed with less than is here");
  if (position_.number.value != 0 && begin.over != position_)
    return fail(ErrorCode::kProtocol,
                hello_.node_name + " would seed a copy that it does not know");
  position_ = begin.at;
  phase_ = Phase::kSeeding;
  return Work(std::move(begin));
}

// The master's own check as well: of two histories of one epoch neither is the right one.
Result<std::optional<Work>> ReceiverMachine::on_rewind(const wire::Rewind& rewind) {
  if (rewind.common.number >= position_.number ||
      position_.epoch.counter >= hello_.published.epoch.counter)
    return fail(ErrorCode::kProtocol, hello_.node_name + " would undo what is not to be undone");
  phase_ = Phase::kRewinding;
  return Work(rewind);
}

void ReceiverMachine::agree(const wire::Agree& agree) {
  HOTBACKUP_CHECK(phase_ == Phase::kVerdict);
  reply_ = agree;
}

void ReceiverMachine::fetch(wire::Fetch fetch) {
  HOTBACKUP_CHECK(phase_ == Phase::kRewinding);
  reply_ = std::move(fetch);
  phase_ = Phase::kFetching;
}

void ReceiverMachine::rewound() {
  HOTBACKUP_CHECK(phase_ == Phase::kRewinding);
  reply_ = wire::Rewound{};
}

void ReceiverMachine::seeded() {
  HOTBACKUP_CHECK(phase_ == Phase::kSeedEnded);
  received_ = journaled_ = applied_ = position_.number;
  published_ = std::max(published_, received_);
  sequence_.emplace(hello_.group_id, position_.number.next(), position_.chain);
  acknowledge_ = true;
  phase_ = Phase::kStreaming;
}

Result<std::optional<Work>> ReceiverMachine::on_frames(wire::Frames frames) {
  const auto checked = for_each_frame(
      frames.frames, [this](const journal::FrameView& frame) { return sequence_->accept(frame); });
  if (!checked)
    return fail(ErrorCode::kProtocol,
                hello_.node_name + " sent wrong frames: " + checked.error().text());
  received_ = sequence_->next_number().previous();
  published_ = std::max(published_, received_);
  return Work(CheckedFrames{std::move(frames.frames), received_});
}

void ReceiverMachine::journaled(UpdateNumber number) {
  HOTBACKUP_CHECK(number <= received_);
  if (number <= journaled_) return;
  journaled_ = number;
  applied_ = std::max(applied_, std::min(visible_, journaled_));
  acknowledge_ = true;
}

// The applier may be ahead of what this link was told to be journaled; what is acknowledged never
// is.
void ReceiverMachine::applied(UpdateNumber number) {
  visible_ = std::max(visible_, number);
  number = std::min(visible_, journaled_);
  if (phase_ != Phase::kStreaming || number <= applied_) return;
  applied_ = number;
  acknowledge_ = true;
}

void ReceiverMachine::set_reading(bool reading, Time now) {
  if (reading && !reading_) heard_ = now;
  reading_ = reading;
}

std::optional<wire::Message> ReceiverMachine::next_output(Time now) {
  std::optional<wire::Message> message;
  if (reply_) {
    message = std::move(reply_);
    reply_.reset();
  } else if (phase_ == Phase::kOver) {
    return std::nullopt;
  } else if (acknowledge_) {
    message = wire::Acknowledge{journaled_, applied_};
  } else if (heartbeat_) {
    message = wire::Heartbeat{{}, {}, journaled_, applied_, 0, echo_ns_};
  } else {
    return std::nullopt;
  }
  if (std::holds_alternative<wire::Acknowledge>(*message)) acknowledge_ = false;
  if (std::holds_alternative<wire::Heartbeat>(*message)) echo_due_ = false;
  heartbeat_ = echo_due_;  // acknowledgements are signs of life, too, but carry no stamp
  writing_since_ = now;
  return message;
}

void ReceiverMachine::written(Time now) {
  writing_since_.reset();
  said_ = now;
}

std::chrono::milliseconds ReceiverMachine::silence_limit() const {
  return 3 * std::max(options_.check_period, hello_.check_period);
}

Result<> ReceiverMachine::tick(Time now) {
  if (phase_ == Phase::kGreeting) {
    if (now - begun_ < options_.greeting_limit) return {};
    return fail(ErrorCode::kTimeout, "the caller does not say hello");
  }
  if (phase_ == Phase::kChecking || phase_ == Phase::kOver) return {};
  if (reading_ && now - heard_ >= silence_limit())
    return fail(ErrorCode::kTimeout,
                hello_.node_name + " is silent for " + human_duration(now - heard_));
  if (writing_since_ && now - *writing_since_ >= options_.stall_limit)
    return fail(ErrorCode::kTimeout,
                hello_.node_name + " has not read for " + human_duration(now - *writing_since_));
  if (!writing_since_ && now - said_ >= options_.check_period) heartbeat_ = true;
  return {};
}

}  // namespace hotbackup::slave
