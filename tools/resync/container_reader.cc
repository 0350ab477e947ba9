// SPDX-License-Identifier: Apache-2.0
#include <zstd.h>

#include "common/base/bytes.h"
#include "tools/resync/container_bytes.h"

namespace hotbackup::resync {

Result<std::string> unpack(const BlockHeader& header, std::string_view stored) {
  if (stored.size() != header.stored_bytes || hash64(stored) != header.stored_hash)
    return fail(ErrorCode::kCorrupt, "the block's content is damaged");
  if (!header.compressed) return std::string(stored);
  std::string raw(header.raw_bytes, '\0');
  const std::size_t got = ZSTD_decompress(raw.data(), raw.size(), stored.data(), stored.size());
  if (ZSTD_isError(got) != 0 || got != raw.size())
    return fail(ErrorCode::kCorrupt, "the block's content cannot be unpacked");
  return raw;
}

tl::unexpected<Error> ContainerReader::damaged(std::uint64_t offset,
                                               const std::string& text) const {
  return fail(ErrorCode::kCorrupt, name_ + " at byte " + std::to_string(offset) + ": " + text);
}

/// False where the source ends first.
Result<bool> ContainerReader::take(char* to, std::size_t size) {
  const std::size_t known = std::min(size, pushed_back_.size());
  std::memcpy(to, pushed_back_.data(), known);
  pushed_back_.erase(0, known);
  HOTBACKUP_ASSIGN(const std::size_t got, source_->read(to + known, size - known));
  return known + got == size;
}

Result<std::unique_ptr<ContainerReader>> ContainerReader::open(std::unique_ptr<Source> source,
                                                               std::string name) {
  std::unique_ptr<ContainerReader> reader(new ContainerReader(std::move(source), std::move(name)));
  auto read = reader->read_head();
  if (!read) {
    if (read.error().text().starts_with(reader->name_)) return fail(std::move(read).error());
    return fail(std::move(read).error().with_context(reader->name_ + " at byte 0"));
  }
  return reader;
}

Result<> ContainerReader::read_head() {
  std::string bytes(kFileHeaderBytes, '\0');
  HOTBACKUP_ASSIGN(const bool whole, take(bytes.data(), bytes.size()));
  if (!whole) return fail(ErrorCode::kCorrupt, "it ends too early");
  HOTBACKUP_ASSIGN(const FileHeader header, decode_file_header(bytes));
  bytes.resize(kFileHeaderBytes + header.text_bytes);
  HOTBACKUP_ASSIGN(const bool all, take(bytes.data() + kFileHeaderBytes, header.text_bytes));
  if (!all) return fail(ErrorCode::kCorrupt, "it ends in its header");
  HOTBACKUP_ASSIGN(head_, decode_head(header, bytes));
  chain_ = hash128(bytes);
  offset_ = bytes.size();
  return {};
}

Result<Block> ContainerReader::read_block(const BlockHeader& header) {
  std::string stored(header.stored_bytes, '\0');
  HOTBACKUP_ASSIGN(const bool whole, take(stored.data(), stored.size()));
  if (!whole) return fail(ErrorCode::kCorrupt, "it ends inside a block");
  Block block;
  block.kind = header.kind;
  HOTBACKUP_ASSIGN(block.raw, unpack(header, stored));
  return block;
}

Result<> ContainerReader::read_trailer(const BlockHeader& last) {
  char trailer[kTrailerBytes];
  HOTBACKUP_ASSIGN(const bool whole, take(trailer, sizeof trailer));
  if (!whole || std::string_view(trailer, sizeof trailer) !=
                    encode_trailer(last.offset, offset_ + kTrailerBytes, chain_))
    return damaged(offset_, "its end is missing or damaged");
  offset_ += kTrailerBytes;
  char more = 0;
  HOTBACKUP_ASSIGN(const bool further, take(&more, 1));
  if (further) return damaged(offset_, "there is something behind its end");
  ended_ = true;
  return {};
}

Result<std::optional<Block>> ContainerReader::next() {
  if (ended_) return std::nullopt;
  const std::uint64_t at = offset_;
  std::string bytes(kBlockHeaderBytes, '\0');
  HOTBACKUP_ASSIGN(const bool whole, take(bytes.data(), bytes.size()));
  if (!whole) return damaged(at, "it ends before its end was written: an interrupted one");
  const auto header = decode_block(bytes);
  if (!header) return damaged(at, header.error().text());
  if (header->number != number_ + 1 || header->offset != at || header->chain != chain_)
    return damaged(at, "block " + std::to_string(header->number) + " does not follow on");
  auto block = read_block(*header);
  if (!block && block.error().code() == ErrorCode::kCorrupt)
    return damaged(at, block.error().text());
  if (!block) return fail(std::move(block).error());
  number_ = header->number;
  chain_ = hash128(bytes);
  offset_ = at + kBlockHeaderBytes + header->stored_bytes;
  if (header->kind == BlockKind::kEnd) {
    auto end = decode_end(block->raw);
    if (!end) return damaged(at, end.error().text());
    end_ = std::move(*end);
    HOTBACKUP_TRY(read_trailer(*header));
  }
  return std::optional(std::move(*block));
}

/// Looks for a whole header in what follows; `window` holds what was read and is no block.
Result<std::optional<BlockHeader>> ContainerReader::find_block(std::string& window,
                                                               std::uint64_t& skipped) {
  for (;;) {
    for (std::size_t at = 0; at + kBlockHeaderBytes <= window.size(); ++at) {
      const auto header = decode_block(std::string_view(window).substr(at, kBlockHeaderBytes));
      if (!header || header->offset != offset_ + skipped + at) continue;
      skipped += at;
      pushed_back_ = window.substr(at + kBlockHeaderBytes);
      window.resize(at + kBlockHeaderBytes);
      window.erase(0, at);
      return std::optional(*header);
    }
    const std::size_t kept = std::min<std::size_t>(window.size(), kBlockHeaderBytes - 1);
    skipped += window.size() - kept;
    window.erase(0, window.size() - kept);
    std::string more(1 << 20, '\0');
    HOTBACKUP_ASSIGN(const std::size_t got, source_->read(more.data(), more.size()));
    if (got == 0) return std::nullopt;
    window.append(more, 0, got);
  }
}

Result<std::vector<ContainerReader::Damage>> ContainerReader::check(
    const std::function<Result<>(const Block&, bool)>& visit) {
  std::vector<Damage> found;
  bool gap = false;
  std::string bytes(kBlockHeaderBytes, '\0');
  while (!ended_) {
    bytes.assign(kBlockHeaderBytes, '\0');
    std::string window;
    HOTBACKUP_ASSIGN(const std::size_t got, [&]() -> Result<std::size_t> {
      const std::size_t known = std::min(bytes.size(), pushed_back_.size());
      std::memcpy(bytes.data(), pushed_back_.data(), known);
      pushed_back_.erase(0, known);
      HOTBACKUP_ASSIGN(const std::size_t more,
                       source_->read(bytes.data() + known, bytes.size() - known));
      return known + more;
    }());
    auto header = decode_block(std::string_view(bytes).substr(0, got));
    if (!header || header->offset != offset_) {
      found.push_back({offset_, got < kBlockHeaderBytes
                                    ? "it ends before its end was written: an interrupted one"
                                    : "a block's header is damaged"});
      if (got < kBlockHeaderBytes) return found;
      window = bytes + pushed_back_;
      pushed_back_.clear();
      window.erase(0, 1);
      std::uint64_t skipped = 1;
      HOTBACKUP_ASSIGN(const auto next, find_block(window, skipped));
      if (!next) return found;
      offset_ += skipped;
      bytes = window;
      header = *next;
      gap = true;
    } else if (header->number != number_ + 1 || (header->chain != chain_ && !gap)) {
      found.push_back({offset_, "block " + std::to_string(header->number) + " does not follow on"});
      gap = true;
    }
    const std::uint64_t at = offset_;
    auto block = read_block(*header);
    if (!block && block.error().code() != ErrorCode::kCorrupt)
      return fail(std::move(block).error());
    offset_ = at + kBlockHeaderBytes + header->stored_bytes;
    number_ = header->number;
    chain_ = hash128(bytes);
    if (!block) {
      found.push_back({at, block.error().text()});
      gap = true;
      continue;
    }
    if (auto seen = visit(*block, gap); !seen) found.push_back({at, seen.error().text()});
    gap = false;
    if (header->kind != BlockKind::kEnd) continue;
    auto end = decode_end(block->raw);
    if (end) end_ = std::move(*end);
    if (auto trailer = read_trailer(*header); !trailer) {
      found.push_back({offset_, "its end is missing or damaged, or something is behind it"});
      return found;
    }
  }
  return found;
}

}  // namespace hotbackup::resync
