// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "common/os/ownership.h"
#include "common/os/unique_fd.h"
#include "tests/support/temporary_directory.h"

using namespace hotbackup;
using namespace hotbackup::os;

namespace {

constexpr uid_t kUser = 12345;
constexpr gid_t kGroup = 23456;

struct stat look(const std::string& path) {
  struct stat status {};
  CHECK(::lstat(path.c_str(), &status) == 0);
  return status;
}

void touch(const std::string& path) {
  const std::ofstream file(path);
}

/// Whether a process of this user and group can look at `path`.
bool reached_by(uid_t uid, gid_t gid, const std::string& path) {
  const pid_t child = ::fork();
  if (child == 0) {
    struct stat status {};
    const bool became = ::setgid(gid) == 0 && ::setuid(uid) == 0;
    ::_exit(became && ::stat(path.c_str(), &status) == 0 ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool is_root() {
  if (::geteuid() == 0) return true;
  MESSAGE("needs root to make files of another user");
  return false;
}

}  // namespace

TEST_CASE("a file is made with its owner and mode whatever the umask, and never set-user-id") {
  if (!is_root()) return;
  const test::TemporaryDirectory directory;
  const mode_t umask = ::umask(0777);
  auto opened = open_directory(directory.path(), {kUser, kGroup, 06664});
  REQUIRE(opened);
  CHECK((*opened)->create("file"));
  ::umask(umask);
  const struct stat status = look(directory.path() + "/file");
  CHECK(status.st_uid == kUser);
  CHECK(status.st_gid == kGroup);
  CHECK((status.st_mode & 07777) == 0664);
}

TEST_CASE("who may not give a file away hands it to the group at least") {
  if (!is_root()) return;
  const test::TemporaryDirectory directory;
  REQUIRE(::chmod(directory.path().c_str(), 0777) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const bool became = ::setgroups(1, &kGroup) == 0 && ::setgid(77) == 0 && ::setuid(77) == 0;
    ::umask(077);
    auto opened = open_directory(directory.path(), {kUser, kGroup, 0660});
    ::_exit(became && opened && (*opened)->create("file") ? 0 : 1);
  }
  int ended = 0;
  REQUIRE(::waitpid(child, &ended, 0) == child);
  REQUIRE(ended == 0);
  const struct stat status = look(directory.path() + "/file");
  CHECK(status.st_uid == 77);
  CHECK(status.st_gid == kGroup);
  CHECK((status.st_mode & 07777) == 0660);
}

TEST_CASE("what somebody put in the place of a file is not given away") {
  if (!is_root()) return;
  const test::TemporaryDirectory directory;
  const Permissions away{kUser, kGroup, 0666};
  const std::string secret = directory.path() + "/secret";
  touch(secret);
  REQUIRE(::chmod(secret.c_str(), 0600) == 0);
  REQUIRE(::symlink(secret.c_str(), (directory.path() + "/link").c_str()) == 0);
  REQUIRE(::link(secret.c_str(), (directory.path() + "/name").c_str()) == 0);
  give(directory.path() + "/link", away);
  give(directory.path() + "/name", away);
  CHECK(look(secret).st_uid == 0);
  CHECK((look(secret).st_mode & 07777) == 0600);

  const std::string others = directory.path() + "/others";
  touch(others);
  REQUIRE(::chown(others.c_str(), 77, 77) == 0);
  give(others, away);
  CHECK(look(others).st_uid == 77);

  const std::string ours = directory.path() + "/ours";
  touch(ours);
  give(ours, away);
  CHECK(look(ours).st_uid == kUser);
  CHECK((look(ours).st_mode & 07777) == 0666);
}

TEST_CASE("the group's users pass through a closed directory, and nobody else") {
  if (!is_root()) return;
  const test::TemporaryDirectory directory;
  REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
  const std::string state = directory.path() + "/state";
  REQUIRE(::mkdir(state.c_str(), 0750) == 0);
  REQUIRE(::mkdir((state + "/group").c_str(), 0777) == 0);
  const Permissions group{kUser, kGroup, 0660};
  CHECK_FALSE(may_pass(state, group));
  REQUIRE(allow_passage(state, group));
  REQUIRE(allow_passage(state, {kUser + 1, kGroup + 1, 0660}));
  CHECK(may_pass(state, group));
  CHECK((look(state).st_mode & 07) == 0);
  const std::string place = state + "/group";
  CHECK(reached_by(kUser, 99, place));
  CHECK(reached_by(99, kGroup, place));
  CHECK(reached_by(kUser + 1, 99, place));
  CHECK_FALSE(reached_by(99, 99, place));
  // As a service manager sets it again at each start.
  REQUIRE(::chmod(state.c_str(), 0750) == 0);
  CHECK(reached_by(kUser, 99, state + "/group"));
}

TEST_CASE("a group without a user lets everybody pass, and nobody list") {
  const test::TemporaryDirectory directory;
  const std::string state = directory.path() + "/state";
  REQUIRE(::mkdir(state.c_str(), 0750) == 0);
  REQUIRE(allow_passage(state, {}));
  CHECK((look(state).st_mode & 07777) == 0751);
}
