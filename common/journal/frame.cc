// SPDX-License-Identifier: Apache-2.0
#include "common/journal/frame.h"

#include <algorithm>

#include "common/base/bytes.h"

namespace hotbackup::journal {
namespace {

constexpr char kMagic[4] = {'H', 'B', 'F', '1'};
constexpr std::uint16_t kLastPart = 1;
constexpr std::uint16_t kNoSync = 2;
constexpr std::uint16_t kKeptLocal = 4;
constexpr std::size_t kChecksumOffset = 112;

bool has_magic(std::string_view bytes) {
  return bytes.size() >= kFrameHeaderBytes && bytes.substr(0, 4) == std::string_view(kMagic, 4);
}

bool checksum_fits(std::string_view bytes) {
  return load_le<std::uint64_t>(bytes.data() + kChecksumOffset) ==
         hash64(bytes.substr(0, kChecksumOffset));
}

std::uint16_t flags_of(const FrameHeader& header) {
  return static_cast<std::uint16_t>((header.last_part ? kLastPart : 0) |
                                    (header.no_sync ? kNoSync : 0) |
                                    (header.kept_local ? kKeptLocal : 0));
}

}  // namespace

std::string_view frame_kind_name(FrameKind kind) {
  switch (kind) {
    case FrameKind::kUpdate:
      return "update";
    case FrameKind::kEnvironment:
      return "environment";
    case FrameKind::kBaseline:
      return "baseline";
    case FrameKind::kEpoch:
      return "epoch";
    case FrameKind::kRules:
      return "rules";
    case FrameKind::kMark:
      return "mark";
  }
  return "unknown";
}

void encode(FrameHeader& header, char* to) {
  std::copy(kMagic, kMagic + 4, to);
  store_le(to + 4, kFrameVersion);
  store_le(to + 6, flags_of(header));
  store_le(to + 8, header.body_bytes);
  store_le(to + 12, header.part);
  std::copy(header.group.bytes.begin(), header.group.bytes.end(), to + 16);
  store_le(to + 32, header.epoch.counter);
  store_le(to + 40, header.epoch.node.value);
  store_le(to + 48, header.number.value);
  store_le(to + 56, header.update_bytes);
  store_le(to + 64, header.environment.value);
  store_le(to + 68, static_cast<std::uint16_t>(header.kind));
  store_le(to + 70, header.undurable);
  store_le(to + 72, header.txnid.value);
  store_le(to + 80, static_cast<std::int64_t>(header.commit_time.time_since_epoch().count()));
  store_le(to + 88, header.body_hash);
  store_le(to + 96, header.chain.low);
  store_le(to + 104, header.chain.high);
  header.checksum = hash64({to, kChecksumOffset});
  store_le(to + kChecksumOffset, header.checksum);
  store_le(to + kVoidWordOffset, header.void_word);
}

bool looks_like_frame(std::string_view bytes) {
  return has_magic(bytes) && checksum_fits(bytes);
}

Result<FrameHeader> decode(std::string_view bytes) {
  if (!has_magic(bytes)) return fail(ErrorCode::kCorrupt, "no frame begins here");
  if (!checksum_fits(bytes)) return fail(ErrorCode::kCorrupt, "wrong checksum of a frame header");
  const char* at = bytes.data();
  if (const auto version = load_le<std::uint16_t>(at + 4); version != kFrameVersion)
    return fail(ErrorCode::kVersion, "frame format " + std::to_string(version) + " is not known");
  FrameHeader header;
  const auto flags = load_le<std::uint16_t>(at + 6);
  header.last_part = (flags & kLastPart) != 0;
  header.no_sync = (flags & kNoSync) != 0;
  header.kept_local = (flags & kKeptLocal) != 0;
  header.body_bytes = load_le<std::uint32_t>(at + 8);
  header.part = load_le<std::uint32_t>(at + 12);
  std::copy(at + 16, at + 32, header.group.bytes.begin());
  header.epoch = {load_le<std::uint64_t>(at + 32), NodeId(load_le<std::uint64_t>(at + 40))};
  header.number = UpdateNumber(load_le<std::uint64_t>(at + 48));
  header.update_bytes = load_le<std::uint64_t>(at + 56);
  header.environment = EnvironmentNumber(load_le<std::uint32_t>(at + 64));
  header.kind = static_cast<FrameKind>(load_le<std::uint16_t>(at + 68));
  header.undurable = load_le<std::uint16_t>(at + 70);
  header.txnid = TxnId(load_le<std::uint64_t>(at + 72));
  header.commit_time = WallTime(std::chrono::nanoseconds(load_le<std::int64_t>(at + 80)));
  header.body_hash = load_le<std::uint64_t>(at + 88);
  header.chain = {load_le<std::uint64_t>(at + 96), load_le<std::uint64_t>(at + 104)};
  header.checksum = load_le<std::uint64_t>(at + kChecksumOffset);
  header.void_word = load_le<std::uint64_t>(at + kVoidWordOffset);
  if (header.body_bytes > kBodyBytesMax || header.number.value == 0 ||
      header.update_bytes < frame_bytes(header.body_bytes) || header.update_bytes % 8 != 0)
    return fail(ErrorCode::kCorrupt, "impossible sizes in a frame header");
  if (header.void_word != 0 && header.void_word != void_word_for(header.checksum))
    return fail(ErrorCode::kCorrupt, "damaged void word of a frame");
  return header;
}

ChainHash chain_after(std::string_view header_bytes) {
  return hash128(header_bytes.substr(0, kVoidWordOffset));
}

ChainHash chain_before_all(const GroupId& group) {
  return hash128({reinterpret_cast<const char*>(group.bytes.data()), group.bytes.size()});
}

std::uint64_t void_word_for(std::uint64_t checksum) {
  char text[12] = {'v', 'o', 'i', 'd'};
  store_le(text + 4, checksum);
  return hash64({text, sizeof text}) | 1;  // never 0
}

Result<> FrameSequence::accept(const FrameView& frame) {
  const FrameHeader& header = frame.header;
  if (header.group != group_)
    return fail(ErrorCode::kRefused, "a frame of another group (" + header.group.to_hex() + ")");
  if (header.number != next_ || header.part != part_)
    return fail(ErrorCode::kGap, "update " + std::to_string(header.number.value) + " part " +
                                     std::to_string(header.part) + " came where " +
                                     std::to_string(next_.value) + " part " +
                                     std::to_string(part_) + " was due");
  if (header.chain != chain_)
    return fail(ErrorCode::kDiverged, "update " + std::to_string(header.number.value) +
                                          " does not follow the history before it");
  if (header.body_hash != hash64(frame.body))
    return fail(ErrorCode::kCorrupt,
                "the body of update " + std::to_string(header.number.value) + " is damaged");
  const std::uint64_t left = part_ == 0 ? header.update_bytes : bytes_left_;
  const std::uint64_t size = frame_bytes(header.body_bytes);
  if (size > left || header.last_part != (size == left))
    return fail(ErrorCode::kCorrupt,
                "the parts of update " + std::to_string(header.number.value) + " do not add up");
  bytes_left_ = left - size;
  chain_ = chain_after(frame.bytes);
  part_ = header.last_part ? 0 : part_ + 1;
  if (header.last_part) next_ = next_.next();
  return {};
}

}  // namespace hotbackup::journal
