// SPDX-License-Identifier: Apache-2.0
// The frame: the piece of history that is the same on disk, on the wire, in a volume and in a save.
// Layout and reasons: docs/formats/journal.md.
//
//   offset bytes
//        0     4  magic "HBF1"
//        4     2  format version, 1
//        6     2  flags: bit 0 = last part of its update, 1 = its program does not sync, 2 =
//        touched
//                 keep-local data (the last two: never replayed by recovery)
//        8     4  body bytes, at most 1 MiB
//       12     4  part: 0, 1, 2 … in its update
//       16    16  group id
//       32     8  epoch: counter
//       40     8  epoch: node
//       48     8  update number
//       56     8  update bytes: all frames of this update, headers and padding included
//       64     4  environment number, 0 for the group
//       68     2  kind
//       70     2  updates before this one that were not known durable here, at most 65535
//       72     8  source txnid
//       80     8  commit time, ns since 1970 UTC
//       88     8  body hash: XXH3-64 of the body
//       96    16  chain: XXH3-128 of bytes 0..119 of the frame before (of the group id for the
//       first)
//      112     8  checksum: XXH3-64 of bytes 0..111
//      120     8  void word: 0, or the word that this frame's checksum calls for
//      128        body, then zeros to a multiple of 8
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "common/base/clock.h"
#include "common/base/ids.h"

namespace hotbackup::journal {

inline constexpr std::size_t kFrameHeaderBytes = 128;
inline constexpr std::size_t kVoidWordOffset = 120;
inline constexpr std::size_t kBodyBytesMax = 1024 * 1024;
inline constexpr std::uint16_t kFrameVersion = 1;
inline constexpr std::uint16_t kUndurableMax = 65535;

enum class FrameKind : std::uint16_t {
  kUpdate = 1,
  kEnvironment = 2,
  kBaseline = 3,
  kEpoch = 4,
  kRules = 5,
  kMark = 6,
};
/// "update", "baseline", …: stable names for logs and JSON.
std::string_view frame_kind_name(FrameKind kind);

struct FrameHeader {
  bool last_part = true;
  bool no_sync = false;     // the environment was open with MDB_NOSYNC or the like
  bool kept_local = false;  // the transaction also changed what stays here
  std::uint32_t body_bytes = 0;
  std::uint32_t part = 0;
  GroupId group;
  Epoch epoch;
  UpdateNumber number;
  std::uint64_t update_bytes = 0;
  EnvironmentNumber environment;
  FrameKind kind = FrameKind::kUpdate;
  std::uint16_t undurable = 0;  // set by append; kUndurableMax: that many or more
  TxnId txnid;
  WallTime commit_time;
  std::uint64_t body_hash = 0;
  ChainHash chain;
  std::uint64_t checksum = 0;   // set by encode()
  std::uint64_t void_word = 0;  // 0: not void

  bool is_void() const { return void_word != 0; }
};

/// A frame in a caller's buffer.
struct FrameView {
  FrameHeader header;
  std::string_view body;
  std::string_view bytes;  // header, body and padding
};

/// Bytes of a frame with a body of this size, padding included.
constexpr std::size_t frame_bytes(std::size_t body_bytes) {
  return (kFrameHeaderBytes + body_bytes + 7) / 8 * 8;
}

/// Writes 128 bytes; sets header.checksum.
void encode(FrameHeader& header, char* to);
/// From 128 bytes: kCorrupt for a wrong magic, checksum or void word, kVersion for another format.
/// Says nothing about the body.
Result<FrameHeader> decode(std::string_view bytes);
/// Whether these 128 bytes begin with the magic and have a right checksum.
bool looks_like_frame(std::string_view bytes);

/// The chain hash that the frame after this one carries.
ChainHash chain_after(std::string_view header_bytes);
/// The chain hash of the first frame of a group: there is no history before it.
ChainHash chain_before_all(const GroupId& group);
/// The only void word other than 0 that a frame with this checksum may have.
std::uint64_t void_word_for(std::uint64_t checksum);

/// Checks that frames follow on from each other: number, part, chain, group, body hash.
/// Bytes in, verdict out; used on both sides of every disk and network border.
class FrameSequence {
 public:
  /// `chain` is that of the last frame of update next-1.
  FrameSequence(GroupId group, UpdateNumber next, ChainHash chain)
      : group_(group), next_(next), chain_(chain) {}

  /// kGap where the number or part is not the expected one, kDiverged for a wrong chain,
  /// kRefused for another group, kCorrupt for a body that is not the hashed one.
  Result<> accept(const FrameView& frame);

  /// The update expected next, or the one in progress.
  UpdateNumber next_number() const { return next_; }
  std::uint32_t next_part() const { return part_; }
  const ChainHash& chain() const { return chain_; }
  /// True between updates.
  bool at_boundary() const { return part_ == 0; }

 private:
  GroupId group_;
  UpdateNumber next_;
  ChainHash chain_;
  std::uint32_t part_ = 0;
  std::uint64_t bytes_left_ = 0;  // of the update in progress
};

}  // namespace hotbackup::journal
