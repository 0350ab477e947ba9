// SPDX-License-Identifier: Apache-2.0
// The file that saves and volumes are: a header, blocks of frames, an end. docs/formats/save.md.
//
// Header:  0  8  magic "HBSAVE1\n" or "HBVOLU1\n"     12  4  bytes of the text
//          8  4  version, 1                           16  8  XXH3-64 of bytes 0..15 and the text
//         24     text: JSON, what the content is of
// Block, 64 bytes, then the stored bytes:
//          0  4  magic "HBK1"      12  4  raw bytes      32 16  chain: XXH3-128 of the block
//          4  2  kind              16  8  number: 1 …           header before (of the file's
//          header) 6  2  1: zstd           24  8  XXH3-64 of     48  8  offset in the file 8  4
//          stored bytes             stored bytes   56  8  XXH3-64 of bytes 0..55
// Behind the last block, which is of kind kEnd, 32 bytes:
//          0  8  magic "HBEND1\n\0"      16  8  bytes of the file
//          8  8  offset of the last block  24  8  XXH3-64 of bytes 0..23 and the chain
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"

namespace hotbackup::resync {

enum class ContainerKind { kSave, kVolume };
enum class BlockKind : std::uint16_t { kFrames = 1, kFile = 2, kEnd = 3 };

inline constexpr std::size_t kBlockRawBytes = 1 << 20;
inline constexpr std::size_t kBlockRawBytesMax = 4 << 20;
inline constexpr std::size_t kTextBytesMax = 16 << 20;
inline constexpr std::size_t kFileHeaderBytes = 24;
inline constexpr std::size_t kBlockHeaderBytes = 64;
inline constexpr std::size_t kTrailerBytes = 32;

using Json = nlohmann::ordered_json;

struct BlockHeader {
  BlockKind kind = BlockKind::kFrames;
  bool compressed = false;
  std::uint32_t stored_bytes = 0;
  std::uint32_t raw_bytes = 0;
  std::uint64_t number = 0;
  std::uint64_t stored_hash = 0;
  ChainHash chain;
  std::uint64_t offset = 0;
};
std::string encode_block(const BlockHeader& header);
/// From 64 bytes; kCorrupt for anything that write() does not make.
Result<BlockHeader> decode_block(std::string_view bytes);

/// Where a container's bytes go to, in order. docs: files get their name when they are whole.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual Result<> write(std::string_view bytes) = 0;
  /// What was written, for those who cannot read it back: a filtered file gets it beside it.
  virtual void describe(const Json& head, const Json& end) {
    (void)head;
    (void)end;
  }
  /// Durable, and under its name, when it returns. Destroyed before, nothing of it stays.
  virtual Result<> finish() = 0;
};

/// Compresses and writes on a thread of its own; one caller.
class ContainerWriter {
 public:
  /// Borrows the sink.
  static Result<std::unique_ptr<ContainerWriter>> begin(Sink& sink, ContainerKind kind,
                                                        const Json& head);
  ~ContainerWriter();

  /// Errors of earlier blocks come with later ones.
  Result<> add(BlockKind kind, std::string raw);
  /// Writes `end` and the trailer. The sink is not finished.
  Result<> end(const Json& end);

  std::uint64_t bytes() const;  // written so far
  /// Names the content from the first byte to the last; after end().
  const ChainHash& hash() const { return chain_; }

 private:
  ContainerWriter();
  struct Pipe;
  void run();
  Result<> write_block(BlockKind kind, std::string_view raw);

  std::unique_ptr<Pipe> pipe_;
  ChainHash chain_;
  std::uint64_t number_ = 0;
};

/// Where a container's bytes come from, in order.
class Source {
 public:
  virtual ~Source() = default;
  /// Fills all of it; fewer bytes only at the end.
  virtual Result<std::size_t> read(char* to, std::size_t size) = 0;
};
/// A file, or standard input for "-". `filter`: a shell command that the bytes go through.
Result<std::unique_ptr<Source>> open_source(const std::string& path,
                                            const std::string& filter = "");

struct Head {
  ContainerKind kind = ContainerKind::kSave;
  Json text;
};

struct Block {
  BlockKind kind = BlockKind::kFrames;
  std::string raw;
};

/// Reads in order; every byte is checked before it is given out. kCorrupt names the offset.
class ContainerReader {
 public:
  static Result<std::unique_ptr<ContainerReader>> open(std::unique_ptr<Source> source,
                                                       std::string name);

  const Head& head() const { return head_; }
  const std::string& name() const { return name_; }
  /// The next block; nothing behind the end, when trailer and file end have been checked.
  Result<std::optional<Block>> next();
  /// After next() has given kEnd.
  const Json& end() const { return end_; }
  std::uint64_t offset() const { return offset_; }
  const ChainHash& hash() const { return chain_; }

  struct Damage {
    std::uint64_t offset = 0;
    std::string text;
  };
  /// All damage from here to the end: after a bad block it goes on with the next good one. `visit`
  /// sees the good blocks; `after_gap`: blocks before this one were lost.
  Result<std::vector<Damage>> check(
      const std::function<Result<>(const Block&, bool after_gap)>& visit);

 private:
  ContainerReader(std::unique_ptr<Source> source, std::string name)
      : source_(std::move(source)), name_(std::move(name)) {}
  Result<> read_head();
  Result<Block> read_block(const BlockHeader& header);
  Result<> read_trailer(const BlockHeader& last);
  Result<bool> take(char* to, std::size_t size);
  Result<std::optional<BlockHeader>> find_block(std::string& window, std::uint64_t& skipped);
  tl::unexpected<Error> damaged(std::uint64_t offset, const std::string& text) const;

  const std::unique_ptr<Source> source_;
  const std::string name_;
  Head head_;
  Json end_;
  ChainHash chain_;
  std::uint64_t number_ = 0;
  std::uint64_t offset_ = 0;
  bool ended_ = false;
  std::string pushed_back_;  // bytes that a search for a block has read too far
};

/// Header and end of a whole file, without what is between: for lists. kCorrupt, kNotFound.
struct Summary {
  Head head;
  Json end;
  std::uint64_t bytes = 0;
};
Result<Summary> read_summary(const std::string& path);

/// What ChainHash::to_hex() made.
Result<ChainHash> chain_from_hex(const std::string& text);

}  // namespace hotbackup::resync
