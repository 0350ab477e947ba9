// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/filtered.h"

#include <stdio.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/os/file.h"
#include "tools/resync/streams.h"

namespace hotbackup::resync {
namespace {

constexpr std::uint64_t kPieceBytesMin = 1 << 20;
constexpr std::uint64_t kPiecesMax = 1024;

/// What a list, a choice and the way on from there need.
Json only(const Json& all, std::initializer_list<const char*> keys) {
  Json some = Json::object();
  for (const char* key : keys)
    if (all.contains(key)) some[key] = all[key];
  return some;
}

Result<std::vector<std::string>> hash_pieces(const std::string& path, std::uint64_t piece_bytes) {
  HOTBACKUP_ASSIGN(auto source, open_source(path));
  std::vector<std::string> hashes;
  std::string piece(piece_bytes, '\0');
  for (;;) {
    HOTBACKUP_ASSIGN(const std::size_t got, source->read(piece.data(), piece.size()));
    if (got == 0) return hashes;
    hashes.push_back(hash128(std::string_view(piece).substr(0, got)).to_hex());
    if (got < piece.size()) return hashes;
  }
}

}  // namespace

Result<> write_info(const std::string& path, const std::string& written, const Json& head,
                    const Json& end) {
  std::error_code error;
  const std::uint64_t bytes = std::filesystem::file_size(written, error);
  if (error) return fail_errno("looking at " + written, error.value());
  const std::uint64_t piece = (std::max(kPieceBytesMin, bytes / kPiecesMax) + 4095) / 4096 * 4096;
  HOTBACKUP_ASSIGN(const auto hashes, hash_pieces(written, piece));
  const Json info{{"bytes", bytes},
                  {"piece_bytes", piece},
                  {"hashes", hashes},
                  {"head", only(head, {"kind", "group", "group_id", "node", "number", "first",
                                       "chain", "epoch", "predecessor", "volume", "time", "time_ns",
                                       "commit_time", "commit_time_ns", "version"})},
                  {"end", only(end, {"items", "content_hash", "raw_bytes", "last", "chain", "epoch",
                                     "updates", "marks", "last_time_ns", "time", "time_ns"})}};
  const std::string text = info.dump();
  const Json sealed{{"info", info}, {"check", hash128(text).to_hex()}};
  return os::replace_file(path + kInfoSuffix, sealed.dump() + "\n", {.mode = 0640});
}

Result<FilteredInfo> read_info(const std::string& path) {
  HOTBACKUP_ASSIGN(const std::string text, os::read_file(path + kInfoSuffix));
  const Json sealed = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const Json info = sealed.is_object() ? sealed.value("info", Json()) : Json();
  if (!info.is_object() || sealed.value("check", Json()) != Json(hash128(info.dump()).to_hex()))
    return fail(ErrorCode::kCorrupt, path + kInfoSuffix + " is damaged");
  FilteredInfo read;
  read.bytes = info.value("bytes", std::uint64_t{0});
  read.piece_bytes = info.value("piece_bytes", std::uint64_t{0});
  read.hashes = info.value("hashes", std::vector<std::string>());
  read.head = info.value("head", Json::object());
  read.end = info.value("end", Json::object());
  if (read.head.value("kind", "") == "volume") read.kind = ContainerKind::kVolume;
  if (read.piece_bytes == 0 || read.piece_bytes % 4096 != 0)
    return fail(ErrorCode::kCorrupt, path + kInfoSuffix + " is damaged");
  return read;
}

Result<> rename_info(const std::string& from, const std::string& to) {
  if (::rename((from + kInfoSuffix).c_str(), (to + kInfoSuffix).c_str()) == 0 || errno == ENOENT)
    return {};
  return fail_errno("naming " + to + kInfoSuffix);
}

Result<std::vector<FilteredDamage>> check_filtered(const std::string& path,
                                                   const FilteredInfo& info) {
  std::vector<FilteredDamage> damage;
  std::error_code error;
  const std::uint64_t bytes = std::filesystem::file_size(path, error);
  if (error) return fail_errno("looking at " + path, error.value());
  HOTBACKUP_ASSIGN(const auto hashes, hash_pieces(path, info.piece_bytes));
  for (std::size_t i = 0; i < std::max(hashes.size(), info.hashes.size()); ++i)
    if (i >= hashes.size() || i >= info.hashes.size() || hashes[i] != info.hashes[i])
      damage.push_back({i * info.piece_bytes, "the next " + human_bytes(info.piece_bytes) +
                                                  " are not those that were written"});
  if (bytes != info.bytes && damage.empty())
    damage.push_back({std::min(bytes, info.bytes), "it is not as long as it was written"});
  return damage;
}

}  // namespace hotbackup::resync
