// SPDX-License-Identifier: Apache-2.0
// Bytes of a container's pieces, and the summary of a file.
#include <fcntl.h>
#include <sys/stat.h>

#include "common/base/bytes.h"
#include "common/os/unique_fd.h"
#include "tools/resync/container_bytes.h"

namespace hotbackup::resync {
namespace {

constexpr char kBlockMagic[4] = {'H', 'B', 'K', '1'};
constexpr std::uint32_t kVersion = 1;

Result<Json> parse_text(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object())
    return fail(ErrorCode::kCorrupt, "its text is not JSON");
  return json;
}

}  // namespace

std::string encode_block(const BlockHeader& header) {
  std::string out(kBlockHeaderBytes, '\0');
  char* to = out.data();
  std::memcpy(to, kBlockMagic, sizeof kBlockMagic);
  store_le(to + 4, static_cast<std::uint16_t>(header.kind));
  store_le(to + 6, static_cast<std::uint16_t>(header.compressed ? 1 : 0));
  store_le(to + 8, header.stored_bytes);
  store_le(to + 12, header.raw_bytes);
  store_le(to + 16, header.number);
  store_le(to + 24, header.stored_hash);
  store_le(to + 32, header.chain.low);
  store_le(to + 40, header.chain.high);
  store_le(to + 48, header.offset);
  store_le(to + 56, hash64({to, 56}));
  return out;
}

Result<BlockHeader> decode_block(std::string_view bytes) {
  const char* at = bytes.data();
  if (bytes.size() < kBlockHeaderBytes || bytes.substr(0, 4) != std::string_view(kBlockMagic, 4))
    return fail(ErrorCode::kCorrupt, "no block begins here");
  if (load_le<std::uint64_t>(at + 56) != hash64(bytes.substr(0, 56)))
    return fail(ErrorCode::kCorrupt, "a block's header is damaged");
  BlockHeader header;
  const auto kind = load_le<std::uint16_t>(at + 4);
  const auto flags = load_le<std::uint16_t>(at + 6);
  header.stored_bytes = load_le<std::uint32_t>(at + 8);
  header.raw_bytes = load_le<std::uint32_t>(at + 12);
  header.number = load_le<std::uint64_t>(at + 16);
  header.stored_hash = load_le<std::uint64_t>(at + 24);
  header.chain = {load_le<std::uint64_t>(at + 32), load_le<std::uint64_t>(at + 40)};
  header.offset = load_le<std::uint64_t>(at + 48);
  if (kind < 1 || kind > 3 || flags > 1)
    return fail(ErrorCode::kVersion, "a block of an unknown kind");
  header.kind = static_cast<BlockKind>(kind);
  header.compressed = flags == 1;
  const std::size_t most = header.kind == BlockKind::kEnd ? kTextBytesMax : kBlockRawBytesMax;
  if (header.raw_bytes > most || header.stored_bytes > most ||
      (!header.compressed && header.raw_bytes != header.stored_bytes))
    return fail(ErrorCode::kCorrupt, "impossible sizes in a block's header");
  return header;
}

std::string encode_head(ContainerKind kind, const Json& text) {
  const std::string json = text.dump();
  std::string out(kind == ContainerKind::kSave ? kSaveMagic : kVolumeMagic, 8);
  out.resize(kFileHeaderBytes);
  store_le(out.data() + 8, kVersion);
  store_le(out.data() + 12, static_cast<std::uint32_t>(json.size()));
  store_le(out.data() + 16, hash64(out.substr(0, 16) + json));
  return out + json;
}

Result<FileHeader> decode_file_header(std::string_view bytes) {
  FileHeader header;
  const std::string_view magic = bytes.substr(0, 8);
  if (magic == std::string_view(kSaveMagic, 8))
    header.kind = ContainerKind::kSave;
  else if (magic == std::string_view(kVolumeMagic, 8))
    header.kind = ContainerKind::kVolume;
  else
    return fail(ErrorCode::kCorrupt, "it is no save and no volume");
  if (const auto version = load_le<std::uint32_t>(bytes.data() + 8); version != kVersion)
    return fail(ErrorCode::kVersion, "format " + std::to_string(version) + " is not known");
  header.text_bytes = load_le<std::uint32_t>(bytes.data() + 12);
  header.hash = load_le<std::uint64_t>(bytes.data() + 16);
  if (header.text_bytes > kTextBytesMax)
    return fail(ErrorCode::kCorrupt, "an impossible size in the header");
  return header;
}

Result<Head> decode_head(const FileHeader& header, std::string_view bytes) {
  if (hash64(std::string(bytes.substr(0, 16)) + std::string(bytes.substr(kFileHeaderBytes))) !=
      header.hash)
    return fail(ErrorCode::kCorrupt, "the header is damaged");
  Head head;
  head.kind = header.kind;
  HOTBACKUP_ASSIGN(head.text, parse_text(bytes.substr(kFileHeaderBytes)));
  return head;
}

std::string encode_trailer(std::uint64_t last_block, std::uint64_t bytes, const ChainHash& chain) {
  std::string out(kEndMagic, 8);
  out.resize(kTrailerBytes);
  store_le(out.data() + 8, last_block);
  store_le(out.data() + 16, bytes);
  char hashed[40];
  std::memcpy(hashed, out.data(), 24);
  store_le(hashed + 24, chain.low);
  store_le(hashed + 32, chain.high);
  store_le(out.data() + 24, hash64({hashed, sizeof hashed}));
  return out;
}

Result<ChainHash> chain_from_hex(const std::string& text) {
  const auto bytes = unhex(text);
  if (!bytes || bytes->size() != 16)
    return fail(ErrorCode::kCorrupt, "'" + text + "' is no hash of 16 bytes");
  return ChainHash{load_le<std::uint64_t>(bytes->data()),
                   load_le<std::uint64_t>(bytes->data() + 8)};
}

Result<Json> decode_end(std::string_view raw) {
  return parse_text(raw);
}

namespace {

Result<std::string> read_exactly(int fd, std::uint64_t offset, std::size_t size) {
  std::string bytes(size, '\0');
  const ssize_t got = ::pread(fd, bytes.data(), size, static_cast<off_t>(offset));
  if (got < 0) return fail_errno("reading");
  if (static_cast<std::size_t>(got) != size) return fail(ErrorCode::kCorrupt, "it ends too early");
  return bytes;
}

Result<Summary> summarize(int fd) {
  Summary summary;
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail_errno("looking at it");
  summary.bytes = static_cast<std::uint64_t>(status.st_size);
  if (summary.bytes < kFileHeaderBytes + kBlockHeaderBytes + kTrailerBytes)
    return fail(ErrorCode::kCorrupt, "it ends too early");
  HOTBACKUP_ASSIGN(const auto start, read_exactly(fd, 0, kFileHeaderBytes));
  HOTBACKUP_ASSIGN(const auto header, decode_file_header(start));
  HOTBACKUP_ASSIGN(const auto whole, read_exactly(fd, 0, kFileHeaderBytes + header.text_bytes));
  HOTBACKUP_ASSIGN(summary.head, decode_head(header, whole));
  HOTBACKUP_ASSIGN(const auto trailer,
                   read_exactly(fd, summary.bytes - kTrailerBytes, kTrailerBytes));
  const auto last = load_le<std::uint64_t>(trailer.data() + 8);
  if (trailer.substr(0, 8) != std::string_view(kEndMagic, 8) || last >= summary.bytes ||
      load_le<std::uint64_t>(trailer.data() + 16) != summary.bytes)
    return fail(ErrorCode::kCorrupt, "its end is missing or damaged");
  HOTBACKUP_ASSIGN(const auto block_bytes, read_exactly(fd, last, kBlockHeaderBytes));
  HOTBACKUP_ASSIGN(const auto block, decode_block(block_bytes));
  if (encode_trailer(last, summary.bytes, hash128(block_bytes)) != trailer)
    return fail(ErrorCode::kCorrupt, "its end is damaged");
  HOTBACKUP_ASSIGN(const auto stored,
                   read_exactly(fd, last + kBlockHeaderBytes, block.stored_bytes));
  HOTBACKUP_ASSIGN(const auto raw, unpack(block, stored));
  HOTBACKUP_ASSIGN(summary.end, decode_end(raw));
  return summary;
}

}  // namespace

Result<Summary> read_summary(const std::string& path) {
  const os::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno("opening " + path);
  auto summary = summarize(fd.get());
  if (!summary) return fail(std::move(summary).error().with_context(path));
  return summary;
}

}  // namespace hotbackup::resync
