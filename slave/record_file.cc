// SPDX-License-Identifier: Apache-2.0
#include "slave/record_file.h"

#include <unistd.h>

#include "common/base/bytes.h"

namespace hotbackup::slave {
namespace {

constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kBodyBytesMax = 4 << 20;

struct Place {
  std::string directory;
  std::string name;
};
Place split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return {path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

Result<RecordFile> RecordFile::create(const std::string& path, const os::Permissions& permissions) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno("removing " + path);
  const Place place = split(path);
  HOTBACKUP_ASSIGN(auto directory, os::open_directory(place.directory, permissions));
  HOTBACKUP_ASSIGN(auto file, directory->create(place.name));
  HOTBACKUP_TRY(directory->sync());
  return RecordFile(path, std::move(file));
}

Result<RecordFile> RecordFile::open(const std::string& path) {
  const Place place = split(path);
  HOTBACKUP_ASSIGN(auto directory, os::open_directory(place.directory, {}));
  HOTBACKUP_ASSIGN(auto file, directory->open(place.name, /*writable=*/false));
  return RecordFile(path, std::move(file));
}

Result<> RecordFile::append(EnvironmentNumber environment, std::string_view body) {
  std::string record(kHeaderBytes, '\0');
  store_le(record.data(), environment.value);
  store_le(record.data() + 4, static_cast<std::uint32_t>(body.size()));
  store_le(record.data() + 8, hash64(body));
  record += body;
  HOTBACKUP_TRY(file_->write_at(offset_, record));
  offset_ += record.size();
  return {};
}

Result<> RecordFile::sync() {
  return file_->sync_data();
}

Result<std::optional<Record>> RecordFile::next(std::uint64_t end) {
  if (offset_ == end) return std::nullopt;
  const auto damaged = [this] {
    return fail(ErrorCode::kCorrupt, path_ + " is damaged at byte " + std::to_string(offset_));
  };
  char header[kHeaderBytes];
  HOTBACKUP_ASSIGN(const auto got, file_->read_at(offset_, header, sizeof header));
  const auto size = load_le<std::uint32_t>(header + 4);
  if (got != sizeof header || size > kBodyBytesMax || offset_ + sizeof header + size > end)
    return damaged();
  Record record{EnvironmentNumber(load_le<std::uint32_t>(header)), std::string(size, '\0')};
  HOTBACKUP_ASSIGN(const auto read,
                   file_->read_at(offset_ + sizeof header, record.body.data(), size));
  if (read != size || hash64(record.body) != load_le<std::uint64_t>(header + 8)) return damaged();
  offset_ += sizeof header + size;
  return record;
}

}  // namespace hotbackup::slave
