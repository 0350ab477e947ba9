// SPDX-License-Identifier: Apache-2.0
#include "common/wire/message.h"

#include <algorithm>
#include <array>

#include "common/base/bytes.h"
#include "hotbackup.pb.h"

namespace hotbackup::wire {
namespace {

constexpr std::size_t kEnvironmentsMax = 4096;
constexpr std::size_t kRefuseTextBytesMax = 1000;
constexpr std::size_t kMatchBytesMax = 255;  // a file's name

void put(const Position& from, proto::PositionMessage& to) {
  to.set_epoch_counter(from.epoch.counter);
  to.set_epoch_node(from.epoch.node.value);
  to.set_number(from.number.value);
  to.set_chain_low(from.chain.low);
  to.set_chain_high(from.chain.high);
}

Position get(const proto::PositionMessage& from) {
  return {{from.epoch_counter(), NodeId(from.epoch_node())},
          UpdateNumber(from.number()),
          {from.chain_low(), from.chain_high()}};
}

std::int64_t nanoseconds(WallTime time) {
  return time.time_since_epoch().count();
}
WallTime wall_time(std::int64_t value) {
  return WallTime(std::chrono::nanoseconds(value));
}

// A protobuf string has to be UTF-8; a path in an error text need not be.
std::string ascii(std::string_view text) {
  std::string out(text.substr(0, kRefuseTextBytesMax));
  std::replace_if(
      out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return out;
}

void put(const Hello& from, proto::Message& to) {
  proto::Hello& hello = *to.mutable_hello();
  hello.set_protocol(from.protocol);
  hello.set_program(ascii(from.program));
  hello.set_node_name(ascii(from.node_name));
  hello.set_node(from.node.value);
  hello.set_group(ascii(from.group));
  hello.set_group_id(from.group_id.bytes.data(), from.group_id.bytes.size());
  put(from.published, *hello.mutable_published());
  hello.set_time_ns(nanoseconds(from.time));
  hello.set_check_period_ms(static_cast<std::uint64_t>(from.check_period.count()));
  // The body of a rules frame holds the same messages: one writer for both.
  proto::RulesBody rules;
  rules.ParseFromString(update::write_rules(from.keep_local));
  hello.mutable_keep_local()->Swap(rules.mutable_environment());
  hello.set_protocol_oldest(from.protocol_oldest);
}

// More than an hour between two signs of life is no promise a peer may ask for.
std::chrono::milliseconds period(std::uint64_t milliseconds) {
  return std::chrono::milliseconds(std::min<std::uint64_t>(milliseconds, 3'600'000));
}

Result<> check_length(std::string_view what, std::string_view text,
                      std::size_t limit = kNameBytesMax) {
  if (text.size() <= limit) return {};
  return fail(ErrorCode::kProtocol, std::string(what) + " of " + std::to_string(text.size()) +
                                        " bytes, more than " + std::to_string(limit));
}

Result<Message> get(const proto::Hello& from) {
  HOTBACKUP_TRY(check_length("a program's name", from.program(), kProgramBytesMax));
  HOTBACKUP_TRY(check_length("a node's name", from.node_name()));
  HOTBACKUP_TRY(check_length("a group's name", from.group()));
  if (from.group_id().size() != GroupId{}.bytes.size())
    return fail(ErrorCode::kProtocol, "a hello without a group id");
  Hello hello{from.protocol(),
              from.program(),
              from.node_name(),
              NodeId(from.node()),
              from.group(),
              {},
              get(from.published()),
              wall_time(from.time_ns()),
              period(from.check_period_ms()),
              {},
              from.protocol_oldest()};
  proto::RulesBody body;
  *body.mutable_environment() = from.keep_local();
  auto rules = update::read_rules(body.SerializeAsString());
  if (!rules) return fail(ErrorCode::kProtocol, rules.error().text());
  hello.keep_local = std::move(*rules);
  std::copy(from.group_id().begin(), from.group_id().end(), hello.group_id.bytes.begin());
  return hello;
}

void put(const Welcome& from, proto::Message& to) {
  proto::Welcome& welcome = *to.mutable_welcome();
  welcome.set_protocol(from.protocol);
  welcome.set_program(ascii(from.program));
  welcome.set_node_name(ascii(from.node_name));
  welcome.set_node(from.node.value);
  put(from.journaled, *welcome.mutable_journaled());
  welcome.set_applied(from.applied.value);
  welcome.set_time_ns(nanoseconds(from.time));
  welcome.set_check_period_ms(static_cast<std::uint64_t>(from.check_period.count()));
  welcome.set_protocol_oldest(from.protocol_oldest);
}

Result<Message> get(const proto::Welcome& from) {
  HOTBACKUP_TRY(check_length("a program's name", from.program(), kProgramBytesMax));
  HOTBACKUP_TRY(check_length("a node's name", from.node_name()));
  return Welcome{from.protocol(),           from.program(),
                 from.node_name(),          NodeId(from.node()),
                 get(from.journaled()),     UpdateNumber(from.applied()),
                 wall_time(from.time_ns()), period(from.check_period_ms()),
                 from.protocol_oldest()};
}

void put(const Refuse& from, proto::Message& to) {
  to.mutable_refuse()->set_reason(static_cast<proto::Refuse::Reason>(from.reason));
  to.mutable_refuse()->set_text(ascii(from.text));
  to.mutable_refuse()->set_epoch_counter(from.epoch.counter);
  to.mutable_refuse()->set_epoch_node(from.epoch.node.value);
  to.mutable_refuse()->set_master(ascii(from.master));
}

Refuse get(const proto::Refuse& from) {
  const bool known = proto::Refuse::Reason_IsValid(from.reason());
  return {known ? static_cast<RefuseReason>(from.reason()) : RefuseReason::kOther,
          ascii(from.text()),
          {from.epoch_counter(), NodeId(from.epoch_node())},
          ascii(from.master())};
}

void put(const Stream& from, proto::Message& to) {
  to.mutable_stream()->set_from(from.from.value);
}

void put(const SeedBegin& from, proto::Message& to) {
  proto::SeedBegin& begin = *to.mutable_seed_begin();
  put(from.at, *begin.mutable_at());
  begin.set_items(from.items);
  if (from.over.number.value != 0) put(from.over, *begin.mutable_over());
  for (const update::EnvironmentBody& environment : from.environments) {
    // The body of an environment frame is the same message: one writer for both.
    begin.add_environment()->ParseFromString(update::write_environment(environment));
  }
}

Result<Message> get(const proto::SeedBegin& from) {
  if (from.environment_size() > static_cast<int>(kEnvironmentsMax))
    return fail(ErrorCode::kProtocol, "a seed of more environments than a group can have");
  SeedBegin begin{get(from.at()), {}, from.items(), get(from.over())};
  for (const proto::EnvironmentBody& environment : from.environment()) {
    HOTBACKUP_TRY(check_length("an environment's name", environment.name()));
    HOTBACKUP_TRY(check_length("an environment's name", environment.configured()));
    HOTBACKUP_TRY(check_length("a part of a file's name", environment.match(), kMatchBytesMax));
    HOTBACKUP_TRY(check_length("a user's name", environment.owner()));
    HOTBACKUP_ASSIGN(auto body, update::read_environment(environment.SerializeAsString()));
    begin.environments.push_back(std::move(body));
  }
  return begin;
}

void put(const SeedPart& from, proto::Message& to) {
  to.mutable_seed_part()->set_environment(from.environment.value);
  to.mutable_seed_part()->set_body(from.body);
}

void put(const SeedEnd& from, proto::Message& to) {
  to.mutable_seed_end()->set_items(from.items);
}

void put(const Frames& from, proto::Message& to) {
  to.mutable_frames()->set_frames(from.frames);
}

void put(const Acknowledge& from, proto::Message& to) {
  to.mutable_acknowledge()->set_journaled(from.journaled.value);
  to.mutable_acknowledge()->set_applied(from.applied.value);
}

void put(const Heartbeat& from, proto::Message& to) {
  proto::Heartbeat& heartbeat = *to.mutable_heartbeat();
  heartbeat.set_time_ns(nanoseconds(from.time));
  put(from.published, *heartbeat.mutable_published());
  heartbeat.set_journaled(from.journaled.value);
  heartbeat.set_applied(from.applied.value);
  heartbeat.set_stamp_ns(from.stamp_ns);
  heartbeat.set_echo_ns(from.echo_ns);
  heartbeat.set_way_home(from.way_home);
}

Heartbeat get(const proto::Heartbeat& from) {
  return {wall_time(from.time_ns()),
          get(from.published()),
          UpdateNumber(from.journaled()),
          UpdateNumber(from.applied()),
          from.stamp_ns(),
          from.echo_ns(),
          from.way_home()};
}

Result<GroupId> group_id(const std::string& bytes) {
  GroupId id;
  if (bytes.size() != id.bytes.size())
    return fail(ErrorCode::kProtocol, "a message without a group id");
  std::copy(bytes.begin(), bytes.end(), id.bytes.begin());
  return id;
}

void put(const Ask& from, proto::Message& to) {
  proto::Ask& ask = *to.mutable_ask();
  ask.set_protocol(from.protocol);
  ask.set_program(ascii(from.program));
  ask.set_node_name(ascii(from.node_name));
  ask.set_node(from.node.value);
  ask.set_group(ascii(from.group));
  ask.set_group_id(from.group_id.bytes.data(), from.group_id.bytes.size());
  ask.set_kind(static_cast<proto::Ask::Kind>(from.kind));
  ask.set_epoch_counter(from.epoch.counter);
  ask.set_epoch_node(from.epoch.node.value);
  ask.set_token(from.token);
  ask.set_from(from.from.value);
  ask.set_number(from.number.value);
  ask.set_compare(from.compare);
  ask.set_content(from.content);
  ask.set_body(from.body);
  ask.set_last(from.last);
}

Result<Message> get(const proto::Ask& from) {
  if (!proto::Ask::Kind_IsValid(from.kind()))
    return fail(ErrorCode::kProtocol, "a question of a kind that is not known");
  HOTBACKUP_TRY(check_length("a program's name", from.program(), kProgramBytesMax));
  HOTBACKUP_TRY(check_length("a node's name", from.node_name()));
  HOTBACKUP_TRY(check_length("a group's name", from.group()));
  HOTBACKUP_ASSIGN(const GroupId id, group_id(from.group_id()));
  return Ask{from.protocol(),
             from.program(),
             from.node_name(),
             NodeId(from.node()),
             from.group(),
             id,
             static_cast<Ask::Kind>(from.kind()),
             {from.epoch_counter(), NodeId(from.epoch_node())},
             from.token(),
             UpdateNumber(from.from()),
             UpdateNumber(from.number()),
             from.compare(),
             from.content(),
             from.body(),
             from.last()};
}

void put(const Answer& from, proto::Message& to) {
  proto::Answer& answer = *to.mutable_answer();
  answer.set_exit(from.exit);
  answer.set_text(ascii(from.text));
  answer.set_node_name(ascii(from.node_name));
  answer.set_node(from.node.value);
  answer.set_group_id(from.group_id.bytes.data(), from.group_id.bytes.size());
  answer.set_role(from.role);
  put(from.journaled, *answer.mutable_journaled());
  answer.set_applied(from.applied.value);
  answer.set_known_counter(from.known.counter);
  answer.set_known_node(from.known.node.value);
  answer.set_master(ascii(from.master));
  answer.set_hash(from.hash);
  answer.set_report(from.report);
  answer.set_from(from.from.value);
  answer.set_body(from.body);
}

Result<Message> get(const proto::Answer& from) {
  HOTBACKUP_ASSIGN(const GroupId id, group_id(from.group_id()));
  return Answer{from.exit(),
                ascii(from.text()),
                ascii(from.node_name()),
                NodeId(from.node()),
                id,
                from.role(),
                get(from.journaled()),
                UpdateNumber(from.applied()),
                {from.known_counter(), NodeId(from.known_node())},
                ascii(from.master()),
                from.hash(),
                from.report(),
                UpdateNumber(from.from()),
                from.body()};
}

void put(const Probe& from, proto::Message& to) {
  for (const Position& at : from.at) put(at, *to.mutable_probe()->add_at());
  to.mutable_probe();
}

Result<Message> get(const proto::Probe& from) {
  if (from.at_size() == 0 || from.at_size() > static_cast<int>(kProbePositionsMax))
    return fail(ErrorCode::kProtocol, "a probe of no or too many positions");
  Probe probe;
  for (const proto::PositionMessage& at : from.at()) probe.at.push_back(get(at));
  return probe;
}

void put(const Agree& from, proto::Message& to) {
  proto::Agree& agree = *to.mutable_agree();
  if (from.number) agree.set_number(from.number->value);
}

void put(const Rewind& from, proto::Message& to) {
  put(from.common, *to.mutable_rewind()->mutable_common());
}

void put(const Fetch& from, proto::Message& to) {
  to.mutable_fetch()->set_environment(from.environment.value);
  to.mutable_fetch()->set_body(from.body);
}

void put(const FetchEnd& from, proto::Message& to) {
  put(from.at, *to.mutable_fetch_end()->mutable_at());
}

void put(const Rewound&, proto::Message& to) {
  to.mutable_rewound();
}

// What a stranger sends is not worth lines on stderr that name no peer; the error is returned.
const bool kQuiet = [] {
  google::protobuf::SetLogHandler(nullptr);
  return true;
}();

}  // namespace

std::uint32_t common_protocol(std::uint32_t newest, std::uint32_t oldest) {
  const std::uint32_t both = std::min(newest, kProtocolVersion);
  return both >= std::max(oldest == 0 ? newest : oldest, kProtocolOldest) ? both : 0;
}

std::string no_common_protocol(std::string_view peer, std::uint32_t newest, std::uint32_t oldest) {
  const auto range = [](std::uint32_t from, std::uint32_t to) {
    return from == 0 || from == to ? std::to_string(to)
                                   : std::to_string(from) + " to " + std::to_string(to);
  };
  return std::string(peer) + " speaks protocol " + range(oldest, newest) + ", this node speaks " +
         range(kProtocolOldest, kProtocolVersion);
}

std::string_view message_name(const Message& message) {
  constexpr std::array<std::string_view, std::variant_size_v<Message>> kNames = {
      "hello",     "welcome",          "refusal",        "stream",          "seed begin",
      "seed part", "seed end",         "frames",         "acknowledgement", "heartbeat",
      "question",  "answer",           "probe",          "agreement",       "rewind",
      "request",   "end of an answer", "end of a rewind"};
  return kNames[message.index()];
}

std::string encode(const Message& message) {
  proto::Message out;
  std::visit([&out](const auto& from) { put(from, out); }, message);
  std::string bytes(kPrefixBytes, '\0');
  out.AppendToString(&bytes);
  store_le(bytes.data(), static_cast<std::uint32_t>(bytes.size() - kPrefixBytes));
  return bytes;
}

Result<Message> decode(std::string_view bytes) {
  proto::Message in;
  if (!kQuiet || !in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail(ErrorCode::kProtocol, "bytes that are not a message of hotbackup");
  switch (in.message_case()) {
    case proto::Message::kHello:
      return get(in.hello());
    case proto::Message::kWelcome:
      return get(in.welcome());
    case proto::Message::kRefuse:
      return get(in.refuse());
    case proto::Message::kStream:
      return Stream{UpdateNumber(in.stream().from())};
    case proto::Message::kSeedBegin:
      return get(in.seed_begin());
    case proto::Message::kSeedPart:
      return SeedPart{EnvironmentNumber(in.seed_part().environment()),
                      std::move(*in.mutable_seed_part()->mutable_body())};
    case proto::Message::kSeedEnd:
      return SeedEnd{in.seed_end().items()};
    case proto::Message::kFrames:
      return Frames{std::move(*in.mutable_frames()->mutable_frames())};
    case proto::Message::kAcknowledge:
      return Acknowledge{UpdateNumber(in.acknowledge().journaled()),
                         UpdateNumber(in.acknowledge().applied())};
    case proto::Message::kHeartbeat:
      return get(in.heartbeat());
    case proto::Message::kAsk:
      return get(in.ask());
    case proto::Message::kAnswer:
      return get(in.answer());
    case proto::Message::kProbe:
      return get(in.probe());
    case proto::Message::kAgree:
      return in.agree().has_number() ? Agree{UpdateNumber(in.agree().number())} : Agree{};
    case proto::Message::kRewind:
      return Rewind{get(in.rewind().common())};
    case proto::Message::kFetch:
      return Fetch{EnvironmentNumber(in.fetch().environment()),
                   std::move(*in.mutable_fetch()->mutable_body())};
    case proto::Message::kFetchEnd:
      return FetchEnd{get(in.fetch_end().at())};
    case proto::Message::kRewound:
      return Rewound{};
    case proto::Message::MESSAGE_NOT_SET:
      break;
  }
  return fail(ErrorCode::kProtocol, "a message of a kind that is not known");
}

Error refused_by(std::string_view peer, const Refuse& refuse) {
  ErrorCode code = ErrorCode::kRefused;
  switch (refuse.reason) {
    case RefuseReason::kVersion:
      code = ErrorCode::kVersion;
      break;
    case RefuseReason::kDiverged:
      code = ErrorCode::kDiverged;
      break;
    case RefuseReason::kHistoryGone:
      code = ErrorCode::kGap;
      break;
    case RefuseReason::kNotReady:
      code = ErrorCode::kBusy;
      break;
    case RefuseReason::kDamaged:
      code = ErrorCode::kCorrupt;
      break;
    case RefuseReason::kOldEpoch:
      code = ErrorCode::kFenced;
      break;
    default:
      break;
  }
  return Error(code, std::string(peer) + " refuses: " + refuse.text);
}

char* MessageReader::prepare(std::size_t size) {
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ + size > buffer_.size() && begin_ > 0) {
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
              buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ + size > buffer_.size()) buffer_.resize(end_ + size);
  return buffer_.data() + end_;
}

Result<std::optional<Message>> MessageReader::next() {
  const std::size_t available = end_ - begin_;
  if (available < kPrefixBytes) return std::nullopt;
  const std::size_t size = load_le<std::uint32_t>(buffer_.data() + begin_);
  if (size == 0 || size > message_bytes_max_)
    return fail(ErrorCode::kProtocol, "bytes that are not a message of hotbackup (a length of " +
                                          std::to_string(size) + ")");
  if (available - kPrefixBytes < size) return std::nullopt;
  auto message = decode({buffer_.data() + begin_ + kPrefixBytes, size});
  begin_ += kPrefixBytes + size;
  if (!message) return fail(std::move(message).error());
  return std::move(*message);
}

}  // namespace hotbackup::wire
