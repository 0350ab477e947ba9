// SPDX-License-Identifier: Apache-2.0
#include "common/identity/identity.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "common/identity/key.h"

namespace hotbackup::identity {
namespace {

namespace fs = std::filesystem;

// Made with openssl(1) for this test, as were its fingerprint and number.
constexpr const char* kKnownKey =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIMTzNdJ/aTDR4mv2EedY4gt4PjM3Rj0wSHOg3eIdbGYn\n"
    "-----END PRIVATE KEY-----\n";
constexpr const char* kKnownFingerprint = "SHA256:EbPJip7fxaf1f1kvRTdupjshNzGAuwEqH95QIEMjZMc";
constexpr NodeId kKnownNode{12089314646772265745u};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = fs::temp_directory_path() / "identity_test.XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryDirectory() { fs::remove_all(path_); }
  std::string operator/(const char* name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void put(const std::string& path, const std::string& text, mode_t mode = 0600) {
  std::ofstream(path, std::ios::binary) << text;
  REQUIRE(::chmod(path.c_str(), mode) == 0);
}

mode_t mode_of(const std::string& path) {
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return info.st_mode & 07777;
}

std::size_t count_entries(const std::string& path) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(path), fs::directory_iterator()));
}

}  // namespace

TEST_CASE(
    "the first use makes the directory, a private key and a certificate, the next reads them") {
  TemporaryDirectory directory;
  const std::string state = directory / "var/lib/state";
  const auto first = load_or_create(state);
  REQUIRE(first);
  CHECK(first->fingerprint.starts_with("SHA256:"));
  CHECK(first->fingerprint.size() == 50);
  CHECK(first->node_id != NodeId());
  CHECK(mode_of(state + "/identity.key") == 0600);
  CHECK(mode_of(state + "/identity.crt") == 0600);
  CHECK(count_entries(state) == 2);
  const std::string key = content(state + "/identity.key");
  const std::string certificate = content(state + "/identity.crt");
  const auto second = load_or_create(state);
  REQUIRE(second);
  CHECK(second->fingerprint == first->fingerprint);
  CHECK(second->node_id == first->node_id);
  CHECK(content(state + "/identity.key") == key);
  CHECK(content(state + "/identity.crt") == certificate);
}

TEST_CASE("two nodes are two identities") {
  TemporaryDirectory directory;
  const auto a = load_or_create(directory / "a");
  const auto b = load_or_create(directory / "b");
  REQUIRE(a);
  REQUIRE(b);
  CHECK(a->fingerprint != b->fingerprint);
  CHECK(a->node_id != b->node_id);
}

TEST_CASE("fingerprint and node id of a key are those that openssl computes") {
  TemporaryDirectory directory;
  put(directory / "identity.key", kKnownKey);
  const auto identity = load_or_create(directory.path());
  REQUIRE(identity);
  CHECK(identity->fingerprint == kKnownFingerprint);
  CHECK(identity->node_id == kKnownNode);
}

TEST_CASE("a key file that others can read is refused with what to type") {
  TemporaryDirectory directory;
  const std::string path = directory / "identity.key";
  for (mode_t mode : {0640, 0604, 0620, 0660}) {
    put(path, kKnownKey, mode);
    const auto identity = load_or_create(directory.path());
    REQUIRE_FALSE(identity);
    CHECK(identity.error().code() == ErrorCode::kConfig);
    CHECK(identity.error().text().find("chmod 600 " + path) != std::string::npos);
    CHECK(mode_of(path) == mode);
  }
  CHECK_FALSE(fs::exists(directory / "identity.crt"));
}

TEST_CASE("a key file of another user is refused") {
  if (::geteuid() != 0) return;  // only root can give a file away
  TemporaryDirectory directory;
  put(directory / "identity.key", kKnownKey);
  REQUIRE(::chown((directory / "identity.key").c_str(), 12345, 12345) == 0);
  const auto identity = load_or_create(directory.path());
  REQUIRE_FALSE(identity);
  CHECK(identity.error().code() == ErrorCode::kConfig);
}

TEST_CASE("a damaged key file is refused and left as it is") {
  TemporaryDirectory directory;
  const std::string path = directory / "identity.key";
  for (const std::string& text : {std::string(), std::string("nonsense\n"),
                                  std::string(kKnownKey, 70), std::string(200'000, 'x')}) {
    put(path, text);
    const auto identity = load_or_create(directory.path());
    REQUIRE_FALSE(identity);
    CHECK(identity.error().code() == ErrorCode::kCorrupt);
    CHECK(identity.error().text().find(path) != std::string::npos);
    CHECK(content(path) == text);
  }
}

TEST_CASE("a key file that is a link or a directory is an error") {
  TemporaryDirectory directory;
  put(directory / "elsewhere", kKnownKey);
  fs::create_symlink(directory / "elsewhere", directory / "identity.key");
  CHECK_FALSE(load_or_create(directory.path()));
  fs::remove(directory / "identity.key");
  fs::create_directory(directory / "identity.key");
  CHECK_FALSE(load_or_create(directory.path()));
}

TEST_CASE("a certificate that is missing, damaged, or of another key is remade") {
  TemporaryDirectory directory;
  const std::string path = directory / "identity.crt";
  const auto first = load_or_create(directory.path());
  REQUIRE(first);
  REQUIRE(load_or_create(directory / "other"));
  const std::string good = content(path);
  for (const std::string& bad : {std::string(), good.substr(0, good.size() / 2),
                                 content(directory / "other/identity.crt")}) {
    put(path, bad);
    CHECK(load_or_create(directory.path())->fingerprint == first->fingerprint);
    CHECK(content(path) != bad);
    CHECK(content(path).starts_with("-----BEGIN CERTIFICATE-----"));
  }
  // Who dials a node is shown it: it names nobody.
  CHECK(certificate_fits(content(path), key_from_pem(first->key_pem).value(), "hotbackup"));
}

TEST_CASE("a key that was prepared takes the place of the old one, and the node stays the same") {
  TemporaryDirectory directory;
  const auto first = load_or_create(directory.path());
  REQUIRE(first);
  REQUIRE_FALSE(use_next_key(directory.path()));
  CHECK(use_next_key(directory.path()).error().code() == ErrorCode::kNotFound);
  const auto next = prepare_next_key(directory.path());
  REQUIRE(next);
  CHECK(prepare_next_key(directory.path()).value() == *next);
  CHECK(*next != first->fingerprint);
  CHECK(load_or_create(directory.path())->fingerprint == first->fingerprint);
  const auto used = use_next_key(directory.path());
  REQUIRE(used);
  CHECK(used->fingerprint == *next);
  CHECK(used->node_id == first->node_id);
  CHECK_FALSE(fs::exists(directory / "identity.next.key"));
  REQUIRE(prepare_next_key(directory.path()));
  CHECK(use_next_key(directory.path())->node_id == first->node_id);
  put(directory / "identity.node", "17");
  CHECK(load_or_create(directory.path()).error().code() == ErrorCode::kCorrupt);
}

TEST_CASE("processes that are first at once agree on one identity") {
  constexpr int kProcesses = 8;
  for (int round = 0; round < 10; ++round) {
    TemporaryDirectory directory;
    int channel[2];
    int start[2];
    REQUIRE(::pipe(channel) == 0);
    REQUIRE(::pipe(start) == 0);
    std::vector<pid_t> children;
    for (int i = 0; i < kProcesses; ++i) {
      const pid_t child = ::fork();
      REQUIRE(child >= 0);
      if (child == 0) {
        ::close(start[1]);
        char go;
        (void)!::read(start[0], &go, 1);  // ends when the parent closes its end
        const auto identity = load_or_create(directory / "state");
        const std::uint64_t number = identity ? identity->node_id.value : 0;
        ::_exit(::write(channel[1], &number, sizeof number) == sizeof number ? 0 : 1);
      }
      children.push_back(child);
    }
    ::close(start[0]);
    ::close(start[1]);
    ::close(channel[1]);
    for (pid_t child : children) {
      int status = 0;
      REQUIRE(::waitpid(child, &status, 0) == child);
      CHECK(status == 0);
    }
    const auto agreed = load_or_create(directory / "state");
    REQUIRE(agreed);
    std::uint64_t number = 0;
    int answers = 0;
    for (; ::read(channel[0], &number, sizeof number) == sizeof number; ++answers) {
      CHECK(number == agreed->node_id.value);
    }
    ::close(channel[0]);
    CHECK(answers == kProcesses);
    CHECK(count_entries(directory / "state") == 2);  // nothing temporary is left
  }
}

}  // namespace hotbackup::identity
