// SPDX-License-Identifier: Apache-2.0
#include "common/journal/segment.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>

#include "common/base/bytes.h"
#include "common/journal/frame.h"

namespace hotbackup::journal {
namespace {

constexpr char kMagic[4] = {'H', 'B', 'J', '1'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kChecksumOffset = 72;
constexpr std::string_view kSuffix = ".hbj";
constexpr std::string_view kSparePrefix = "spare-";
constexpr std::size_t kSparesMax = 2;

bool is_spare(std::string_view name) {
  return name.substr(0, kSparePrefix.size()) == kSparePrefix;
}

std::string temporary_name() {
  return "segment-" + std::to_string(::getpid()) + ".tmp";
}

Result<> remove_if_there(os::Directory& directory, const std::string& name) {
  auto removed = directory.remove(name);
  if (!removed && removed.error().code() != ErrorCode::kNotFound) return removed;
  return {};
}

/// A spare of exactly this size, taken under a name of our own; nothing when there is none.
Result<std::unique_ptr<os::File>> take_spare(os::Directory& directory, std::uint64_t bytes,
                                             const std::string& to) {
  HOTBACKUP_ASSIGN(auto names, directory.list());
  for (const std::string& name : names) {
    if (!is_spare(name)) continue;
    HOTBACKUP_ASSIGN(auto file, directory.open(name));
    HOTBACKUP_ASSIGN(const auto size, file->size());
    if (size != bytes) continue;
    // Should its old name come back with a power loss, it must be with its old header.
    HOTBACKUP_TRY(directory.sync());
    HOTBACKUP_TRY(directory.rename(name, to));
    return file;
  }
  return nullptr;
}

}  // namespace

std::string encode_segment_header(const SegmentHeader& header) {
  std::string block(kSegmentHeaderBytes, '\0');
  std::copy(kMagic, kMagic + 4, block.data());
  store_le(block.data() + 4, kVersion);
  std::copy(header.group.bytes.begin(), header.group.bytes.end(), block.data() + 8);
  store_le(block.data() + 24, header.first.value);
  store_le(block.data() + 32, header.chain.low);
  store_le(block.data() + 40, header.chain.high);
  store_le(block.data() + 48, header.segment_bytes);
  store_le(block.data() + 56, header.epoch.counter);
  store_le(block.data() + 64, header.epoch.node.value);
  store_le(block.data() + kChecksumOffset, hash64({block.data(), kChecksumOffset}));
  return block;
}

Result<SegmentHeader> decode_segment_header(std::string_view bytes) {
  if (bytes.size() < kSegmentHeaderBytes || bytes.substr(0, 4) != std::string_view(kMagic, 4))
    return fail(ErrorCode::kCorrupt, "not a journal segment");
  if (load_le<std::uint64_t>(bytes.data() + kChecksumOffset) !=
      hash64(bytes.substr(0, kChecksumOffset)))
    return fail(ErrorCode::kCorrupt, "wrong checksum of the segment header");
  if (const auto version = load_le<std::uint32_t>(bytes.data() + 4); version != kVersion)
    return fail(ErrorCode::kVersion, "segment format " + std::to_string(version) + " is not known");
  SegmentHeader header;
  std::copy(bytes.data() + 8, bytes.data() + 24, header.group.bytes.begin());
  header.first = UpdateNumber(load_le<std::uint64_t>(bytes.data() + 24));
  header.chain = {load_le<std::uint64_t>(bytes.data() + 32),
                  load_le<std::uint64_t>(bytes.data() + 40)};
  header.segment_bytes = load_le<std::uint64_t>(bytes.data() + 48);
  header.epoch = {load_le<std::uint64_t>(bytes.data() + 56),
                  NodeId(load_le<std::uint64_t>(bytes.data() + 64))};
  return header;
}

Result<SegmentHeader> read_segment_header(os::File& file) {
  std::string block(kSegmentHeaderBytes, '\0');
  HOTBACKUP_ASSIGN(const auto got, file.read_at(0, block.data(), block.size()));
  return decode_segment_header({block.data(), got});
}

Result<> zero_range(os::File& file, std::uint64_t from, std::uint64_t to) {
  constexpr std::size_t kChunk = 1 << 20;
  std::string chunk(kChunk, '\0');
  const std::string zeros(kChunk, '\0');
  while (from < to) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(kChunk, to - from));
    HOTBACKUP_ASSIGN(const auto got, file.read_at(from, chunk.data(), wanted));
    if (got == 0) break;
    const std::string_view zero(zeros.data(), got);
    if (std::string_view(chunk.data(), got) != zero) HOTBACKUP_TRY(file.write_at(from, zero));
    from += got;
  }
  return {};
}

Result<> blank_from(os::File& segment, std::uint64_t offset) {
  return segment.write_at(offset, std::string(kFrameHeaderBytes, '\0'));
}

std::string segment_name(UpdateNumber first) {
  std::string digits = std::to_string(first.value);
  return std::string(digits.size() < 16 ? 16 - digits.size() : 0, '0') + digits +
         std::string(kSuffix);
}

std::optional<UpdateNumber> parse_segment_name(std::string_view name) {
  if (name.size() < 16 + kSuffix.size() || name.substr(name.size() - kSuffix.size()) != kSuffix)
    return std::nullopt;
  std::uint64_t number = 0;
  const char* end = name.data() + name.size() - kSuffix.size();
  const auto parsed = std::from_chars(name.data(), end, number);
  if (parsed.ec != std::errc{} || parsed.ptr != end || number == 0) return std::nullopt;
  return UpdateNumber(number);
}

Result<std::vector<UpdateNumber>> list_segments(os::Directory& directory) {
  HOTBACKUP_ASSIGN(auto names, directory.list());
  std::vector<UpdateNumber> firsts;
  for (const std::string& name : names)
    if (const auto first = parse_segment_name(name)) firsts.push_back(*first);
  std::sort(firsts.begin(), firsts.end());
  return firsts;
}

Result<std::unique_ptr<os::File>> make_segment(os::Directory& directory,
                                               const SegmentHeader& header,
                                               const std::function<Result<>(os::File&)>& fill) {
  const std::string temporary = temporary_name();
  HOTBACKUP_TRY(remove_if_there(directory, temporary));
  HOTBACKUP_ASSIGN(auto file, take_spare(directory, header.segment_bytes, temporary));
  if (file == nullptr) {
    HOTBACKUP_ASSIGN(file, directory.create(temporary));
    if (auto made = file->allocate(header.segment_bytes, /*zeroed=*/false); !made) {
      (void)directory.remove(temporary);
      return fail(std::move(made).error());
    }
  }
  HOTBACKUP_TRY(file->write_at(0, encode_segment_header(header)));
  if (fill) HOTBACKUP_TRY(fill(*file));
  HOTBACKUP_TRY(file->sync_data());
  HOTBACKUP_TRY(directory.rename(temporary, segment_name(header.first)));
  HOTBACKUP_TRY(directory.sync());
  return file;
}

Result<> prepare_spare(os::Directory& directory, std::uint64_t segment_bytes) {
  HOTBACKUP_ASSIGN(auto names, directory.list());
  if (std::any_of(names.begin(), names.end(), is_spare)) return {};
  // Two threads of a server may come here at once: one tidies up, one begins a journal after a
  // seed.
  static std::atomic<std::uint32_t> calls{0};
  const std::string temporary =
      "new-spare-" + std::to_string(::getpid()) + "-" + std::to_string(calls.fetch_add(1)) + ".tmp";
  HOTBACKUP_TRY(remove_if_there(directory, temporary));
  HOTBACKUP_ASSIGN(auto file, directory.create(temporary));
  auto filled = file->allocate(segment_bytes, /*zeroed=*/true);
  if (filled) filled = file->sync_data();
  if (!filled) {
    (void)directory.remove(temporary);
    return filled;
  }
  return directory.rename(temporary, std::string(kSparePrefix) + "0" + std::string(".tmp"));
}

Result<> remove_spares(os::Directory& directory, std::size_t most) {
  HOTBACKUP_ASSIGN(auto names, directory.list());
  std::erase_if(names, [](const std::string& name) { return !is_spare(name); });
  for (std::size_t i = most; i < names.size(); ++i)
    HOTBACKUP_TRY(remove_if_there(directory, names[i]));
  return {};
}

Result<> retire_segment(os::Directory& directory, UpdateNumber first, std::uint64_t segment_bytes) {
  const std::string name = segment_name(first);
  HOTBACKUP_ASSIGN(auto file, directory.open(name, /*writable=*/false));
  HOTBACKUP_ASSIGN(const auto size, file->size());
  HOTBACKUP_ASSIGN(auto names, directory.list());
  const auto spares = static_cast<std::size_t>(std::count_if(names.begin(), names.end(), is_spare));
  // Synced one by one: a power loss that kept an older segment and lost a later one left a hole.
  if (size != segment_bytes || spares >= kSparesMax)
    HOTBACKUP_TRY(directory.remove(name));
  else
    HOTBACKUP_TRY(
        directory.rename(name, std::string(kSparePrefix) + std::to_string(first.value) + ".tmp"));
  return directory.sync();
}

}  // namespace hotbackup::journal
