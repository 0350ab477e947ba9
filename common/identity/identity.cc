// SPDX-License-Identifier: Apache-2.0
#include "common/identity/identity.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "common/base/bytes.h"
#include "common/identity/key.h"
#include "common/os/file.h"
#include "common/os/unique_fd.h"

namespace hotbackup::identity {
namespace {

constexpr std::size_t kFileBytesMax = 64 << 10;

std::string base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()),
                                   static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(size));
  while (out.ends_with('=')) out.pop_back();
  return out;
}

Result<std::string> read_all(const os::UniqueFd& fd, const std::string& path) {
  std::string text(kFileBytesMax, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("reading " + path);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  text.resize(size);
  return text;
}

Result<> check_private(const os::UniqueFd& fd, const std::string& path) {
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return fail_errno("reading " + path);
  if (!S_ISREG(info.st_mode)) return fail(ErrorCode::kConfig, path + " is not a file");
  if (info.st_uid != 0 && info.st_uid != ::geteuid()) {
    return fail(ErrorCode::kConfig, path + " belongs to another user (type: chown " +
                                        std::to_string(::geteuid()) + " " + path + ")");
  }
  if ((info.st_mode & 077) != 0) {
    return fail(ErrorCode::kConfig, path + " can be read or changed by others, so the key may be " +
                                        "known (type: chmod 600 " + path +
                                        ", or remove it for a new identity)");
  }
  return {};
}

/// kNotFound if there is no key file.
Result<Key> load_key(const std::string& path) {
  const os::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd) return fail_errno("opening " + path);
  HOTBACKUP_TRY(check_private(fd, path));
  HOTBACKUP_ASSIGN(const std::string pem, read_all(fd, path));
  auto key = key_from_pem(pem);
  if (!key) return fail(std::move(key).error().with_context(path));
  return key;
}

Result<> write_and_sync(const os::UniqueFd& fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t put = ::write(fd.get(), text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno("writing " + path);
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  if (::fsync(fd.get()) != 0) return fail_errno("syncing " + path);
  return {};
}

Result<> sync_directory(const std::string& path) {
  const os::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return fail_errno("syncing " + path);
  return {};
}

/// Puts a new file with mode 0600 at `path`. `replace`: over what is there; else an existing file
/// is left as it is, and that is not an error.
Result<> publish_file(const std::string& directory, const std::string& path, std::string_view text,
                      bool replace) {
  std::string temporary = path + ".XXXXXX";
  const os::UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));  // exclusive, mode 0600
  if (!fd) return fail_errno("making " + path);
  Result<> result = write_and_sync(fd, text, path);
  if (result && replace) {
    if (::rename(temporary.c_str(), path.c_str()) == 0) return sync_directory(directory);
    result = fail_errno("making " + path);
  } else if (result && ::link(temporary.c_str(), path.c_str()) != 0 && errno != EEXIST) {
    // A link, not a rename: whoever comes second must not replace a key that is already known.
    result = fail_errno("making " + path);
  }
  ::unlink(temporary.c_str());
  HOTBACKUP_TRY(std::move(result));
  return sync_directory(directory);
}

Result<Key> load_or_create_key(const std::string& directory) {
  const std::string path = directory + "/identity.key";
  auto found = load_key(path);
  if (found || found.error().code() != ErrorCode::kNotFound) return found;
  HOTBACKUP_TRY(os::make_directories(directory, {.mode = 0755}));
  HOTBACKUP_ASSIGN(const Key key, make_key());
  HOTBACKUP_ASSIGN(const std::string pem, key_to_pem(key));
  HOTBACKUP_TRY(publish_file(directory, path, pem, false));
  return load_key(path);
}

Result<> ensure_certificate(const std::string& directory, const Key& key, std::string_view name) {
  const std::string path = directory + "/identity.crt";
  const os::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (fd) {
    HOTBACKUP_ASSIGN(const std::string pem, read_all(fd, path));
    if (certificate_fits(pem, key, name)) return {};
  } else if (errno != ENOENT && errno != ELOOP) {
    return fail_errno("opening " + path);
  }
  HOTBACKUP_ASSIGN(const std::string pem, make_certificate_pem(key, name));
  return publish_file(directory, path, pem, true);
}

}  // namespace

Result<Identity> load_or_create(const std::string& state_directory, std::string_view node_name) {
  HOTBACKUP_ASSIGN(const Key key, load_or_create_key(state_directory));
  HOTBACKUP_TRY(ensure_certificate(state_directory, key, node_name));
  HOTBACKUP_ASSIGN(const KeyHash hash, public_key_hash(key));
  const auto number = load_le<std::uint64_t>(hash.data());
  return Identity{"SHA256:" + base64({hash.data(), hash.size()}), NodeId(number == 0 ? 1 : number)};
}

}  // namespace hotbackup::identity
