// SPDX-License-Identifier: Apache-2.0
#include "master/sender_machine.h"

#include <algorithm>

#include "common/base/check.h"

namespace hotbackup::master {
namespace {

constexpr std::uint64_t kProbes = 16;

}  // namespace

SenderMachine::SenderMachine(Options options, Time now)
    : options_(std::move(options)), begun_(now), heard_(now), said_(now) {
  published_ = options_.hello.published;
  put(options_.hello);
}

void SenderMachine::put(wire::Message message, std::size_t bytes) {
  output_bytes_ += bytes;
  output_.push_back({std::move(message), bytes});
}

std::optional<wire::Message> SenderMachine::next_output(Time now) {
  if (output_.empty()) return std::nullopt;
  wire::Message message = std::move(output_.front().message);
  writing_bytes_ += output_.front().bytes;
  output_.pop_front();
  writing_since_ = now;
  return message;
}

void SenderMachine::written(Time now) {
  output_bytes_ -= writing_bytes_;
  writing_bytes_ = 0;
  writing_since_.reset();
  said_ = now;
}

Error SenderMachine::refuse(wire::RefuseReason reason, ErrorCode code, std::string text) {
  put(wire::Refuse{reason, text, {}, {}});
  phase_ = Phase::kOver;
  return Error(code, std::move(text));
}

Result<> SenderMachine::unexpected(const wire::Message& message) const {
  return fail(ErrorCode::kProtocol, options_.peer_name + " sent a " +
                                        std::string(message_name(message)) + " where none belongs");
}

Result<> SenderMachine::receive(wire::Message message, Time now) {
  heard_ = now;
  if (auto* refuse = std::get_if<wire::Refuse>(&message)) {
    phase_ = Phase::kOver;
    refusal_ = refuse->reason;
    told_epoch_ = refuse->epoch;
    told_master_ = refuse->master;
    return fail(wire::refused_by(options_.peer_name, *refuse));
  }
  if (auto* welcome = std::get_if<wire::Welcome>(&message)) return on_welcome(std::move(*welcome));
  if (phase_ == Phase::kGreeting) return unexpected(message);
  if (const auto* numbers = std::get_if<wire::Acknowledge>(&message))
    return on_acknowledge(*numbers);
  if (const auto* numbers = std::get_if<wire::Heartbeat>(&message)) {
    echo_ns_ = std::max(echo_ns_, numbers->echo_ns);
    way_home_ = numbers->way_home;
    return on_numbers(numbers->journaled, numbers->applied);
  }
  if (const auto* agree = std::get_if<wire::Agree>(&message); agree && phase_ == Phase::kProbed)
    return on_agree(*agree);
  if (auto* fetch = std::get_if<wire::Fetch>(&message); fetch && phase_ == Phase::kRewinding)
    return on_fetch(std::move(*fetch));
  if (std::holds_alternative<wire::Rewound>(message) && phase_ == Phase::kRewinding)
    return on_rewound();
  return unexpected(message);
}

Result<> SenderMachine::on_welcome(wire::Welcome welcome) {
  if (phase_ != Phase::kGreeting) return unexpected(welcome);
  if (wire::common_protocol(welcome.protocol, welcome.protocol_oldest) == 0)
    return fail(refuse(
        wire::RefuseReason::kVersion, ErrorCode::kVersion,
        wire::no_common_protocol(options_.peer_name, welcome.protocol, welcome.protocol_oldest)));
  if (welcome.node_name != options_.peer_name)
    return fail(refuse(wire::RefuseReason::kPeerUnknown, ErrorCode::kRefused,
                       "the node that answers is called '" + welcome.node_name + "', not '" +
                           options_.peer_name + "'"));
  if (welcome.applied > welcome.journaled.number)
    return fail(ErrorCode::kProtocol, options_.peer_name + " has applied more than it has");
  peer_position_ = welcome.journaled;
  journaled_ = sent_ = welcome.journaled.number;
  applied_ = welcome.applied;
  welcome_ = std::move(welcome);
  phase_ = Phase::kComparing;
  return {};
}

Result<> SenderMachine::compare(UpdateNumber published, const Result<Position>& here,
                                const KnownSlave& known) {
  HOTBACKUP_CHECK(phase_ == Phase::kComparing);
  const UpdateNumber number = peer_position_.number;
  const std::string at = std::to_string(number.value);
  if (number.value == 0) {
    phase_ = Phase::kSeedWanted;
    return {};
  }
  if (number > published || (!here && here.error().code() == ErrorCode::kNotFound))
    return diverged(published, " has update " + at + ", this master only " +
                                   std::to_string(published.value) + ": it is ahead of its master");
  const bool gone = !here && here.error().code() == ErrorCode::kGap;
  if (!here && !gone)
    return fail(refuse(wire::RefuseReason::kDamaged, here.error().code(), here.error().text()));
  const bool remembered = known.at.number == number;
  if (gone && !remembered)
    return fail(refuse(wire::RefuseReason::kHistoryGone, ErrorCode::kGap,
                       "the journal no longer holds update " + std::to_string(number.next().value) +
                           ", which " + options_.peer_name +
                           " needs next: it needs a seed. Next, on " + options_.peer_name +
                           ": hotbackup init " + options_.hello.group + " --role slave --replace"));
  const ChainHash& chain = gone ? known.at.chain : here->chain;
  if (chain != peer_position_.chain)
    return diverged(published, " has another history at update " + at);
  if (gone || known.needs_seed) {
    phase_ = Phase::kSeedWanted;
    return {};
  }
  put(wire::Stream{number.next()});
  phase_ = Phase::kStreaming;
  return {};
}

// Only what an older epoch left may be undone: of two histories of one epoch this one need not be
// the right one.
Result<> SenderMachine::diverged(UpdateNumber published, std::string why) {
  if (peer_position_.epoch.counter >= published_.epoch.counter)
    return fail(
        refuse(wire::RefuseReason::kDiverged, ErrorCode::kDiverged, options_.peer_name + why));
  differs_ = std::min(published, peer_position_.number).next();
  phase_ = Phase::kProbing;
  return {};
}

std::vector<UpdateNumber> SenderMachine::probe_numbers() const {
  const std::uint64_t first = agreed_known_ ? agreed_.number.next().value : agreed_.number.value;
  const std::uint64_t last = differs_.value - 1;
  std::vector<UpdateNumber> numbers;
  if (first > last) return numbers;
  const std::uint64_t steps = std::min(kProbes - 1, last - first);
  for (std::uint64_t i = 0; i <= steps; ++i)
    numbers.emplace_back(steps == 0 ? first : first + (last - first) / steps * i);
  if (numbers.back().value != last) numbers.emplace_back(last);
  return numbers;
}

void SenderMachine::probe(std::vector<Position> positions) {
  HOTBACKUP_CHECK(phase_ == Phase::kProbing && !positions.empty());
  probed_ = positions;
  put(wire::Probe{std::move(positions)}, 64 * probed_.size());
  phase_ = Phase::kProbed;
}

Result<> SenderMachine::on_agree(const wire::Agree& agree) {
  if (!agree.number && !agreed_known_)
    return fail(refuse(wire::RefuseReason::kHistoryGone, ErrorCode::kGap,
                       "the journal here no longer reaches back to where the history of " +
                           options_.peer_name + " parts from this one"));
  for (auto at = probed_.rbegin(); at != probed_.rend(); ++at) {
    if (agree.number && at->number == *agree.number) {
      agreed_ = *at;
      agreed_known_ = true;
      break;
    }
    differs_ = at->number;
  }
  if (agree.number && agreed_.number != *agree.number)
    return fail(ErrorCode::kProtocol, options_.peer_name + " agrees to what it was not asked");
  if (agreed_.number.next() < differs_) {
    phase_ = Phase::kProbing;
    return {};
  }
  put(wire::Rewind{agreed_});
  phase_ = Phase::kRewinding;
  return {};
}

Result<> SenderMachine::on_fetch(wire::Fetch fetch) {
  fetch_ = std::move(fetch);
  phase_ = Phase::kFetching;
  return {};
}

void SenderMachine::fetch_part(wire::SeedPart part) {
  HOTBACKUP_CHECK(phase_ == Phase::kFetching);
  const std::size_t bytes = part.body.size();
  put(std::move(part), bytes);
}

void SenderMachine::end_fetch(const Position& at) {
  HOTBACKUP_CHECK(phase_ == Phase::kFetching);
  put(wire::FetchEnd{at});
  phase_ = Phase::kRewinding;
}

Result<> SenderMachine::on_rewound() {
  rewound_ = true;
  phase_ = Phase::kOver;
  return fail(ErrorCode::kDisconnected, options_.peer_name + " has gone back to update " +
                                            std::to_string(agreed_.number.value) +
                                            ", the last that both have");
}

void SenderMachine::begin_seed(wire::SeedBegin begin) {
  HOTBACKUP_CHECK(phase_ == Phase::kSeedWanted);
  sent_ = begin.at.number;
  begin.over = peer_position_;  // at 0, or proved to be a prefix of what is sent
  put(std::move(begin));
  phase_ = Phase::kSeeding;
}

void SenderMachine::seed_part(wire::SeedPart part) {
  HOTBACKUP_CHECK(phase_ == Phase::kSeeding);
  const std::size_t bytes = part.body.size();
  put(std::move(part), bytes);
}

void SenderMachine::end_seed(std::uint64_t items) {
  HOTBACKUP_CHECK(phase_ == Phase::kSeeding);
  put(wire::SeedEnd{items});
  phase_ = Phase::kSeedSent;
}

bool SenderMachine::wants_frames() const {
  return phase_ == Phase::kStreaming && output_bytes_ < kOutputBytesMax &&
         (unacknowledged_bytes_ < options_.window_bytes || in_update_);
}

void SenderMachine::add_frames(std::string frames, UpdateNumber through, bool at_boundary) {
  HOTBACKUP_CHECK(phase_ == Phase::kStreaming && through >= sent_);
  const std::size_t bytes = frames.size();
  open_bytes_ += bytes;
  in_update_ = !at_boundary;
  if (through > sent_) {
    // The beginning of a next update is counted with the whole ones before it.
    unacknowledged_.push_back({through, open_bytes_});
    unacknowledged_bytes_ += open_bytes_;
    open_bytes_ = 0;
    sent_ = through;
  }
  put(wire::Frames{std::move(frames)}, bytes);
}

// A heartbeat tells of the copy that is still there while a seed is on its way, which may have the
// seed's number; only a seed that is in place is acknowledged.
Result<> SenderMachine::on_acknowledge(const wire::Acknowledge& numbers) {
  HOTBACKUP_TRY(on_numbers(numbers.journaled, numbers.applied));
  if (phase_ == Phase::kSeedSent && journaled_ == sent_) phase_ = Phase::kStreaming;
  return {};
}

Result<> SenderMachine::on_numbers(UpdateNumber journaled, UpdateNumber applied) {
  const bool forward = journaled >= journaled_ && applied >= applied_;
  if (!forward || journaled > sent_ || applied > journaled)
    return fail(ErrorCode::kProtocol, options_.peer_name + " acknowledges update " +
                                          std::to_string(journaled.value) + ", applied " +
                                          std::to_string(applied.value) + ": that cannot be");
  journaled_ = journaled;
  applied_ = applied;
  while (!unacknowledged_.empty() && unacknowledged_.front().through <= journaled) {
    unacknowledged_bytes_ -= unacknowledged_.front().bytes;
    unacknowledged_.pop_front();
  }
  return {};
}

std::chrono::milliseconds SenderMachine::silence_limit() const {
  return 3 * std::max(options_.check_period, welcome_.check_period);
}

Result<> SenderMachine::tick(Time now) {
  const std::string& peer = options_.peer_name;
  if (phase_ == Phase::kGreeting) {
    if (now - begun_ < options_.greeting_limit) return {};
    return fail(ErrorCode::kTimeout, peer + " does not answer the greeting");
  }
  if (now - heard_ >= silence_limit())
    return fail(ErrorCode::kTimeout, peer + " is silent for " + human_duration(now - heard_));
  if (writing_since_ && now - *writing_since_ >= options_.stall_limit)
    return fail(ErrorCode::kTimeout,
                peer + " has not read for " + human_duration(now - *writing_since_));
  const bool stamp_due =
      options_.stamp_period.count() != 0 && (!stamped_ || now - *stamped_ >= options_.stamp_period);
  if (stamp_due || (output_.empty() && !writing_since_ && now - said_ >= options_.check_period)) {
    stamped_ = now;
    put(wire::Heartbeat{{}, published_, {}, {}});
  }
  return {};
}

}  // namespace hotbackup::master
