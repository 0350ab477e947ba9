// SPDX-License-Identifier: Apache-2.0
// Messages between a master server and a slave server as plain structures, and their bytes. What
// they mean and in which order they come is docs/protocol.md; field numbers are
// proto/hotbackup.proto. The generated classes stay behind message.cc.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/update/codec.h"

namespace hotbackup::wire {

inline constexpr std::uint32_t kProtocolVersion = 1;
/// Peers one version apart work together: each says what it speaks, from oldest to newest, and both
/// use the newest that both speak.
inline constexpr std::uint32_t kProtocolOldest = 1;
/// That version, or 0 where there is none. `oldest` 0: the peer speaks one version only.
std::uint32_t common_protocol(std::uint32_t newest, std::uint32_t oldest);
/// "lyon speaks protocol 3, this node speaks 1".
std::string no_common_protocol(std::string_view peer, std::uint32_t newest, std::uint32_t oldest);
/// A message is a length (4 bytes, little-endian, of what follows) and a protobuf Message.
inline constexpr std::size_t kPrefixBytes = 4;
inline constexpr std::size_t kMessageBytesMax = 4 * 1024 * 1024;
/// Until a handshake is done, a peer is a stranger and gets little memory.
inline constexpr std::size_t kGreetingBytesMax = 64 * 1024;
/// Of nodes, groups, environments and users.
inline constexpr std::size_t kNameBytesMax = 71;
inline constexpr std::size_t kProgramBytesMax = 200;

struct Hello {
  std::uint32_t protocol = kProtocolVersion;
  std::string program;
  std::string node_name;
  NodeId node;
  std::string group;
  GroupId group_id;
  Position published;
  WallTime time;
  std::chrono::milliseconds check_period{0};  // 0: not said
  std::vector<update::EnvironmentRules> keep_local;
  std::uint32_t protocol_oldest = kProtocolOldest;
};

struct Welcome {
  std::uint32_t protocol = kProtocolVersion;
  std::string program;
  std::string node_name;
  NodeId node;
  Position journaled;  // number 0: nothing yet
  UpdateNumber applied;
  WallTime time;
  std::chrono::milliseconds check_period{0};
  std::uint32_t protocol_oldest = kProtocolOldest;
};

/// Numbers as in proto/hotbackup.proto, message Refuse.
enum class RefuseReason : std::uint32_t {
  kOther = 0,
  kUnknownGroup = 1,
  kWrongGroupId = 2,
  kVersion = 3,
  kWrongRole = 4,
  kDiverged = 5,
  kHistoryGone = 6,
  kNotEmpty = 7,
  kNotReady = 8,
  kPeerUnknown = 9,
  kDamaged = 10,
  kRulesDiffer = 11,
  kOldEpoch = 12,
};

struct Refuse {
  RefuseReason reason = RefuseReason::kOther;
  std::string text;  // one sentence; bytes that are not ASCII travel as '?'
  Epoch epoch;       // of kOldEpoch: what is known there, and whose
  std::string master;
};

struct Stream {
  UpdateNumber from;
};

struct SeedBegin {
  Position at;
  std::vector<update::EnvironmentBody> environments;
  std::uint64_t items = 0;  // about how many
  Position over;            // what the slave has and the master knows to be a prefix; at 0: nothing
};

struct SeedPart {
  EnvironmentNumber environment;
  std::string body;
};

struct SeedEnd {
  std::uint64_t items = 0;
};

struct Frames {
  std::string frames;  // whole frames, one after the other
};

struct Acknowledge {
  UpdateNumber journaled;
  UpdateNumber applied;
};

struct Heartbeat {
  WallTime time;
  Position published;      // from the master
  UpdateNumber journaled;  // from the slave
  UpdateNumber applied;
  std::int64_t stamp_ns = 0;   // from a master with a lease: its CLOCK_BOOTTIME when it was sent
  std::int64_t echo_ns = 0;    // from the slave: the last stamp it has received
  std::uint32_t way_home = 0;  // from the slave, as control::WayHome
};

/// A command's question to a peer's slave server; numbers as in proto/hotbackup.proto.
struct Ask {
  enum class Kind : std::uint32_t {
    kState = 0,
    kPrepare = 1,
    kHistory = 2,
    kTakeOver = 3,
    kCancel = 4,
    kSwitch = 5,
    kOrphan = 6,
    kCompare = 7,
  };
  std::uint32_t protocol = kProtocolVersion;
  std::string program;
  std::string node_name;
  NodeId node;
  std::string group;
  GroupId group_id;
  Kind kind = Kind::kState;
  Epoch epoch;
  std::uint64_t token = 0;
  UpdateNumber from;
  UpdateNumber number;
  bool compare = false;
  std::uint64_t content = 0;
  std::string body;
  bool last = false;
};

struct Answer {
  std::uint32_t exit = 0;  // 0: done
  std::string text;
  std::string node_name;
  NodeId node;
  GroupId group_id;
  std::uint32_t role = 0;  // as control::Role
  Position journaled;
  UpdateNumber applied;
  Epoch known;
  std::string master;
  std::uint64_t hash = 0;
  std::string report;
  UpdateNumber from;
  std::string body;  // of kCompare
};

/// A slave that has another history than its master: docs/decisions/0031-rejoin.md.
struct Probe {
  std::vector<Position> at;  // ascending, at most kProbePositionsMax
};
inline constexpr std::size_t kProbePositionsMax = 64;

struct Agree {
  std::optional<UpdateNumber> number;  // none of them: nothing
};

struct Rewind {
  Position common;
};

struct Fetch {
  EnvironmentNumber environment;
  std::string body;
};

struct FetchEnd {
  Position at;
};

struct Rewound {};

using Message =
    std::variant<Hello, Welcome, Refuse, Stream, SeedBegin, SeedPart, SeedEnd, Frames, Acknowledge,
                 Heartbeat, Ask, Answer, Probe, Agree, Rewind, Fetch, FetchEnd, Rewound>;

/// "hello", "seed part" …: for error texts.
std::string_view message_name(const Message& message);

/// The whole message with its length in front.
std::string encode(const Message& message);
/// One message without its length. kProtocol for anything that is not exactly one known message.
Result<Message> decode(std::string_view bytes);

/// What a peer's refusal means for who is refused: the code calls for the reaction.
Error refused_by(std::string_view peer, const Refuse& refuse);

/// Puts arriving bytes together to messages, wherever they were cut. Memory is bounded by the
/// limit.
class MessageReader {
 public:
  explicit MessageReader(std::size_t message_bytes_max = kGreetingBytesMax)
      : message_bytes_max_(message_bytes_max) {}

  /// A longer message is kProtocol from now on.
  void set_limit(std::size_t message_bytes_max) { message_bytes_max_ = message_bytes_max; }

  /// Room for `size` more bytes; valid until the next call.
  char* prepare(std::size_t size);
  /// The first `size` bytes of the room hold arrived bytes.
  void commit(std::size_t size) { end_ += size; }

  /// The next whole message, or nothing yet. After an error the reader is of no more use.
  Result<std::optional<Message>> next();

 private:
  std::size_t message_bytes_max_;
  std::string buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace hotbackup::wire
