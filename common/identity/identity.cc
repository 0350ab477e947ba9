// SPDX-License-Identifier: Apache-2.0
#include "common/identity/identity.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>

#include "common/base/bytes.h"
#include "common/identity/key.h"
#include "common/os/file.h"
#include "common/os/ownership.h"
#include "common/os/unique_fd.h"

namespace hotbackup::identity {
namespace {

constexpr std::size_t kFileBytesMax = 64 << 10;
// The same on every node: a stranger that dials learns a public key and no name.
constexpr std::string_view kCommonName = "hotbackup";

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
  // Root's commands use the key of the servers' user, whose directory it lies in.
  struct stat state {};
  const bool of_state = ::stat(path.substr(0, path.rfind('/') + 1).c_str(), &state) == 0 &&
                        info.st_uid == state.st_uid;
  if (info.st_uid != 0 && info.st_uid != ::geteuid() && !of_state) {
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
  // Whoever comes first, root or the servers' user: it is the state directory's owner that reads
  // it.
  struct stat owner {};
  if (::stat(directory.c_str(), &owner) == 0)
    os::give(fd.get(), {owner.st_uid, owner.st_gid, 0600});
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

Result<Key> load_or_create_key(const std::string& directory, const std::string& path) {
  auto found = load_key(path);
  if (found || found.error().code() != ErrorCode::kNotFound) return found;
  HOTBACKUP_TRY(os::make_directories(directory, {.mode = 0750}));
  HOTBACKUP_ASSIGN(const Key key, make_key());
  HOTBACKUP_ASSIGN(const std::string pem, key_to_pem(key));
  HOTBACKUP_TRY(publish_file(directory, path, pem, false));
  return load_key(path);
}

Result<std::string> ensure_certificate(const std::string& directory, const Key& key) {
  const std::string path = directory + "/identity.crt";
  const os::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (fd) {
    HOTBACKUP_ASSIGN(const std::string pem, read_all(fd, path));
    if (certificate_fits(pem, key, kCommonName)) return pem;
  } else if (errno != ENOENT && errno != ELOOP) {
    return fail_errno("opening " + path);
  }
  HOTBACKUP_ASSIGN(const std::string pem, make_certificate_pem(key, kCommonName));
  HOTBACKUP_TRY(publish_file(directory, path, pem, true));
  return pem;
}

/// Of a key that is not the node's first.
Result<std::optional<NodeId>> load_node_id(const std::string& directory) {
  const std::string path = directory + "/identity.node";
  const os::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd && errno == ENOENT) return std::nullopt;
  if (!fd) return fail_errno("opening " + path);
  HOTBACKUP_ASSIGN(const std::string text, read_all(fd, path));
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || number == 0 || std::string_view(end) != "\n")
    return fail(ErrorCode::kCorrupt, path + " holds no node id");
  return NodeId(number);
}

}  // namespace

std::string fingerprint_of(std::string_view public_key_der) {
  std::array<char, SHA256_DIGEST_LENGTH> hash;
  SHA256(reinterpret_cast<const unsigned char*>(public_key_der.data()), public_key_der.size(),
         reinterpret_cast<unsigned char*>(hash.data()));
  return "SHA256:" + base64({hash.data(), hash.size()});
}

Result<Identity> load_or_create(const std::string& state_directory) {
  HOTBACKUP_ASSIGN(const Key key,
                   load_or_create_key(state_directory, state_directory + "/identity.key"));
  HOTBACKUP_ASSIGN(std::string certificate, ensure_certificate(state_directory, key));
  HOTBACKUP_ASSIGN(const KeyHash hash, public_key_hash(key));
  HOTBACKUP_ASSIGN(std::string pem, key_to_pem(key));
  HOTBACKUP_ASSIGN(const auto first, load_node_id(state_directory));
  const auto number = load_le<std::uint64_t>(hash.data());
  return Identity{"SHA256:" + base64({hash.data(), hash.size()}),
                  first.value_or(NodeId(number == 0 ? 1 : number)), std::move(pem),
                  std::move(certificate)};
}

Result<std::string> prepare_next_key(const std::string& state_directory) {
  HOTBACKUP_ASSIGN(const Key key,
                   load_or_create_key(state_directory, state_directory + "/identity.next.key"));
  HOTBACKUP_ASSIGN(const KeyHash hash, public_key_hash(key));
  return "SHA256:" + base64({hash.data(), hash.size()});
}

Result<Identity> use_next_key(const std::string& state_directory) {
  const std::string next = state_directory + "/identity.next.key";
  HOTBACKUP_TRY(load_key(next));
  HOTBACKUP_ASSIGN(const Identity present, load_or_create(state_directory));
  // Before the key: with the new key and without this file the node would be another one.
  HOTBACKUP_TRY(publish_file(state_directory, state_directory + "/identity.node",
                             std::to_string(present.node_id.value) + "\n", false));
  if (::rename(next.c_str(), (state_directory + "/identity.key").c_str()) != 0)
    return fail_errno("replacing the key");
  HOTBACKUP_TRY(sync_directory(state_directory));
  return load_or_create(state_directory);
}

}  // namespace hotbackup::identity
