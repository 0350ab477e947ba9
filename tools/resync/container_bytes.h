// SPDX-License-Identifier: Apache-2.0
// Between container_format.cc and who reads and writes containers.
#pragma once

#include <unistd.h>

#include <cstring>

#include "tools/resync/container.h"

namespace hotbackup::resync {

inline constexpr char kSaveMagic[] = "HBSAVE1\n";
inline constexpr char kVolumeMagic[] = "HBVOLU1\n";
inline constexpr char kEndMagic[] = "HBEND1\n";  // with its zero: eight bytes

struct FileHeader {
  ContainerKind kind = ContainerKind::kSave;
  std::uint32_t text_bytes = 0;
  std::uint64_t hash = 0;
};

std::string encode_head(ContainerKind kind, const Json& text);
/// From the first 24 bytes.
Result<FileHeader> decode_file_header(std::string_view bytes);
/// From the header with its text.
Result<Head> decode_head(const FileHeader& header, std::string_view bytes);
std::string encode_trailer(std::uint64_t last_block, std::uint64_t bytes, const ChainHash& chain);
Result<Json> decode_end(std::string_view raw);
/// A block's content from its stored bytes: hash, then decompression, are checked.
Result<std::string> unpack(const BlockHeader& header, std::string_view stored);

}  // namespace hotbackup::resync
