// SPDX-License-Identifier: Apache-2.0
#include "common/lmdb/meta.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "common/base/bytes.h"
#include "common/os/unique_fd.h"

namespace hotbackup::lmdb {
namespace {

constexpr std::uint32_t kMagic = 0xBEEFC0DE;
constexpr std::uint32_t kDataVersion = 1;
// Of a meta page: a page header of 16 bytes; magic, version, address, map size; two database
// records of 48 bytes, the first of which begins with the page size; last page; txnid.
constexpr std::size_t kMagicOffset = 16;
constexpr std::size_t kVersionOffset = 20;
constexpr std::size_t kPageSizeOffset = 40;
constexpr std::size_t kMainEntriesOffset = 120;
constexpr std::size_t kTxnidOffset = 144;
constexpr std::size_t kBytes = 152;

struct Meta {
  std::uint64_t txnid = 0;
  std::uint64_t entries = 0;
};

/// The meta page at `offset`, or nothing where there is none.
Result<std::optional<Meta>> read_meta(int fd, const std::string& path, off_t offset,
                                      std::uint32_t* page_bytes) {
  char meta[kBytes];
  const ssize_t got = ::pread(fd, meta, sizeof meta, offset);
  if (got < 0) return fail_errno("reading " + path);
  if (got < static_cast<ssize_t>(sizeof meta) ||
      load_le<std::uint32_t>(meta + kMagicOffset) != kMagic)
    return std::nullopt;
  if (const auto version = load_le<std::uint32_t>(meta + kVersionOffset); version != kDataVersion)
    return fail(ErrorCode::kVersion, path + " has LMDB data version " + std::to_string(version));
  if (page_bytes != nullptr) *page_bytes = load_le<std::uint32_t>(meta + kPageSizeOffset);
  return Meta{load_le<std::uint64_t>(meta + kTxnidOffset),
              load_le<std::uint64_t>(meta + kMainEntriesOffset)};
}

}  // namespace

Result<MetaPeek> peek_meta(const std::string& data_file) {
  const os::UniqueFd fd(::open(data_file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno("opening " + data_file);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("looking at " + data_file);
  if (status.st_size == 0) return fail(ErrorCode::kNotFound, data_file + " is empty");
  std::uint32_t page_bytes = 0;
  HOTBACKUP_ASSIGN(const std::optional<Meta> first, read_meta(fd.get(), data_file, 0, &page_bytes));
  if (!first) return fail(ErrorCode::kCorrupt, data_file + " is not an LMDB data file");
  HOTBACKUP_ASSIGN(const std::optional<Meta> second,
                   read_meta(fd.get(), data_file, static_cast<off_t>(page_bytes), nullptr));
  const Meta& newest = second && second->txnid > first->txnid ? *second : *first;
  return MetaPeek{TxnId(newest.txnid), newest.entries, status.st_dev, status.st_ino};
}

}  // namespace hotbackup::lmdb
