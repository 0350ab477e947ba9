// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/carried_files.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "common/base/bytes.h"
#include "common/os/file.h"
#include "common/os/unique_fd.h"

namespace hotbackup::resync {
namespace {

constexpr char kAcl[] = "system.posix_acl_access";
constexpr std::size_t kChunk = 1 << 20;

// A block: 4 bytes length of the JSON, the JSON, the bytes.
std::string pack(const Json& json, std::string_view bytes) {
  const std::string text = json.dump();
  std::string out(4, '\0');
  store_le(out.data(), static_cast<std::uint32_t>(text.size()));
  return out + text + std::string(bytes);
}

ChainHash add(const ChainHash& hash, std::string_view bytes) {
  char before[16];
  store_le(before, hash.low);
  store_le(before + 8, hash.high);
  return hash128(std::string(before, sizeof before) + std::string(bytes));
}

std::string owner_of(uid_t uid) {
  const passwd* entry = ::getpwuid(uid);
  return entry != nullptr ? entry->pw_name : std::to_string(uid);
}
std::string group_of(gid_t gid) {
  const struct group* entry = ::getgrgid(gid);
  return entry != nullptr ? entry->gr_name : std::to_string(gid);
}

Result<> write_one(const std::string& path, ContainerWriter& writer, Json& listed) {
  const os::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) return fail_errno("the carried file " + path);
  Json json{{"path", path},
            {"mode", status.st_mode & 07777},
            {"owner", owner_of(status.st_uid)},
            {"group", group_of(status.st_gid)}};
  char acl[4096];
  if (const ssize_t n = ::fgetxattr(fd.get(), kAcl, acl, sizeof acl); n > 0)
    json["acl"] = hex({acl, static_cast<std::size_t>(n)});
  std::uint64_t bytes = 0;
  ChainHash hash;
  std::string chunk(kChunk, '\0');
  for (;;) {
    const ssize_t n = ::read(fd.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("reading " + path);
    const std::string_view part = std::string_view(chunk).substr(0, static_cast<std::size_t>(n));
    if (n > 0 || bytes == 0) HOTBACKUP_TRY(writer.add(BlockKind::kFile, pack(json, part)));
    if (n == 0) break;
    hash = add(hash, part);
    bytes += part.size();
  }
  json["bytes"] = bytes;
  json["hash"] = hash.to_hex();
  listed.push_back(std::move(json));
  return {};
}

}  // namespace

Result<> write_carried_files(const std::vector<std::string>& paths, ContainerWriter& writer,
                             Json& listed) {
  for (const std::string& path : paths) {
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      HOTBACKUP_TRY(write_one(path, writer, listed));
      continue;
    }
    std::vector<std::string> below;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path, error))
      if (entry.is_regular_file() && !entry.is_symlink()) below.push_back(entry.path());
    if (error) return fail_errno("the carried directory " + path, error.value());
    std::sort(below.begin(), below.end());
    for (const std::string& file : below) HOTBACKUP_TRY(write_one(file, writer, listed));
  }
  return {};
}

CarriedFiles::~CarriedFiles() {
  for (const Made& made : made_)
    if (!made.temporary.empty()) ::unlink(made.temporary.c_str());
}

Result<> CarriedFiles::take(const Block& block) {
  if (block.raw.size() < 4) return fail(ErrorCode::kCorrupt, "a carried file's block is too short");
  const auto text_bytes = load_le<std::uint32_t>(block.raw.data());
  if (text_bytes > block.raw.size() - 4)
    return fail(ErrorCode::kCorrupt, "a carried file's block is too short");
  const Json json =
      Json::parse(block.raw.substr(4, text_bytes), nullptr, /*allow_exceptions=*/false);
  const std::string path = json.is_object() ? json.value("path", "") : "";
  if (!path.starts_with('/') || path.find("/../") != std::string::npos)
    return fail(ErrorCode::kCorrupt, "a carried file without a usable path");
  const std::string_view bytes = std::string_view(block.raw).substr(4 + text_bytes);
  const bool first = made_.empty() || made_.back().listed.value("path", "") != path;
  if (first) {
    Made made{root_ + path, root_ + path + ".hotbackup-restore", json};
    made.listed["bytes"] = 0;
    made.listed["hash"] = ChainHash{}.to_hex();
    const std::string parent = std::filesystem::path(made.path).parent_path();
    HOTBACKUP_TRY(os::make_directories(parent, {.mode = 0755}));
    ::unlink(made.temporary.c_str());
    made_.push_back(std::move(made));
  }
  Made& made = made_.back();
  const os::UniqueFd fd(
      ::open(made.temporary.c_str(),
             O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | (first ? O_CREAT | O_EXCL : 0), 0600));
  if (!fd) return fail_errno("making " + made.temporary);
  if (::write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    return fail_errno("writing " + made.temporary, errno != 0 ? errno : ENOSPC);
  const std::uint64_t so_far = made.listed["bytes"].get<std::uint64_t>();
  if (!bytes.empty()) {
    HOTBACKUP_ASSIGN(const ChainHash hash, chain_from_hex(made.listed["hash"]));
    made.listed["hash"] = add(hash, bytes).to_hex();
  }
  made.listed["bytes"] = so_far + bytes.size();
  return {};
}

Result<> CarriedFiles::check(const Json& listed) const {
  Json mine = Json::array();
  for (const Made& made : made_) mine.push_back(made.listed);
  // As JSON objects without an order: acl comes before or behind bytes.
  if (nlohmann::json::parse(mine.dump()) != nlohmann::json::parse(listed.dump()))
    return fail(ErrorCode::kCorrupt, "the carried files are not those that its end lists");
  return {};
}

Result<> CarriedFiles::place(bool replace, const std::string& suffix) {
  for (const Made& made : made_)
    if (struct stat status{}; !replace && ::lstat(made.path.c_str(), &status) == 0)
      return fail(ErrorCode::kRefused, made.path + " is there already: --replace keeps it aside");
  for (Made& made : made_) {
    const std::string temporary = made.temporary;
    std::string owner = made.listed.value("owner", "");
    for (const auto& [there, here] : owners_)
      if (owner == there) owner = here;
    const passwd* user = ::getpwnam(owner.c_str());
    const struct group* group = ::getgrnam(made.listed.value("group", "").c_str());
    const os::UniqueFd fd(::open(temporary.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) return fail_errno("placing " + made.path);
    if (::fchown(fd.get(), user != nullptr ? user->pw_uid : static_cast<uid_t>(-1),
                 group != nullptr ? group->gr_gid : static_cast<gid_t>(-1)) != 0 &&
        ::getuid() == 0)
      return fail_errno("giving " + made.path + " to " + owner);
    if (::fchmod(fd.get(), made.listed.value("mode", 0600U) & 07777) != 0)
      return fail_errno("setting the mode of " + made.path);
    if (const auto acl = unhex(made.listed.value("acl", "")); acl && !acl->empty())
      (void)::fsetxattr(fd.get(), kAcl, acl->data(), acl->size(), 0);
    if (::fsync(fd.get()) != 0) return fail_errno("syncing " + made.path);
    if (::rename(made.path.c_str(), (made.path + ".replaced-" + suffix).c_str()) != 0 &&
        errno != ENOENT)
      return fail_errno("keeping " + made.path + " aside");
    if (::rename(temporary.c_str(), made.path.c_str()) != 0)
      return fail_errno("placing " + made.path);
    made.temporary.clear();
  }
  return {};
}

}  // namespace hotbackup::resync
