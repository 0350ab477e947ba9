// SPDX-License-Identifier: Apache-2.0
// A process that applies is killed again and again; its readers never see time go back.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "tests/support/applier_fixture.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

constexpr std::uint64_t kUpdates = 6000;

/// Both environments get the number, a trail of it, and a key that comes and goes.
void fill_journal(UpdateWriter& writer) {
  writer.epoch();
  for (std::uint32_t n = 1; n <= 2; ++n)
    writer.environment(environment_body(n, "env" + std::to_string(n)));
  for (std::uint64_t i = 1; i <= kUpdates; ++i) {
    const std::string number = std::to_string(i);
    writer.append(1 + i % 2, {put(main_database(), "n", number),
                              put(named("trail"), number, number), put(named("twin"), "n", number),
                              i % 3 == 0 ? operation(update::OperationKind::kDeleteKey,
                                                     named("trail"), std::to_string(i / 2))
                                         : put(named("wide"), number, std::string(i % 3000, 'w'))});
  }
  writer.sync();
}

[[noreturn]] void apply_until_killed(const std::string& directory) {
  auto group = control::Group::open(directory);
  if (!group) ::_exit(3);
  slave::Copies copies(**group);
  slave::ApplierLimits limits;
  limits.batch_bytes = 50'000;
  limits.stretch_updates = 300;
  slave::Applier applier(**group, copies, nullptr, limits);
  if (!applier.start()) ::_exit(4);
  while (applier.working() && applier.applied() < (*group)->made()) ::usleep(200);
  if (!applier.working()) ::_exit(5);
  applier.stop();
  ::_exit(0);
}

std::uint64_t counter(lmdb::Transaction& txn, bool main) {
  MDB_dbi dbi = 0;
  if (mdb_dbi_open(txn.get(), main ? nullptr : "twin", 0, &dbi) != 0) return 0;
  MDB_val key = lmdb::to_val("n");
  MDB_val value{};
  if (mdb_get(txn.get(), dbi, &key, &value) != 0) return 0;
  return std::stoull(std::string(lmdb::to_view(value)));
}

/// What a reader of this copy sees now; the two counters of one update always agree.
std::uint64_t look(const std::string& path) {
  if (::access(path.c_str(), R_OK) != 0) return 0;
  auto environment = open_environment(path, 0);
  auto txn = lmdb::Transaction::begin(environment, true);
  if (!txn && txn.error().os_error() == MDB_MAP_RESIZED) {  // it grew since it was opened
    REQUIRE(environment.set_map_bytes(0));
    txn = lmdb::Transaction::begin(environment, true);
  }
  const std::string why = txn ? "" : txn.error().text();
  CAPTURE(why);
  REQUIRE(txn);
  const std::uint64_t seen = counter(*txn, true);
  CHECK(seen == counter(*txn, false));
  return seen;
}

}  // namespace

TEST_CASE("a killed applier goes on where it was and readers never see time go back") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  TemporaryDirectory directory;
  {
    auto group = make_group(directory.path(), group_record(control::Role::kSlave));
    UpdateWriter writer(*group);
    fill_journal(writer);
  }
  std::uint64_t seen[2] = {0, 0};
  bool finished = false;
  int kills = 0;
  for (int round = 0; round < 400 && !finished; ++round) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) apply_until_killed(directory.path());
    ::usleep(static_cast<useconds_t>(random() % 30'000));
    for (int n = 0; n < 2; ++n) {  // while it runs
      const std::uint64_t now = look(directory / "copies/env" + std::to_string(n + 1));
      CHECK(now >= seen[n]);
      seen[n] = now;
    }
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    finished = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (WIFEXITED(status)) CHECK(WEXITSTATUS(status) == 0);
    if (!finished) ++kills;
    for (int n = 0; n < 2; ++n) {
      const std::uint64_t now = look(directory / "copies/env" + std::to_string(n + 1));
      CHECK(now >= seen[n]);
      seen[n] = now;
    }
  }
  MESSAGE("killed " << kills << " times");
  if (!finished) {
    const pid_t child = ::fork();
    if (child == 0) apply_until_killed(directory.path());
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WEXITSTATUS(status) == 0);
  }

  // The same journal without kills gives the same content.
  ApplierFixture plain;
  fill_journal(plain.writer());
  plain.start();
  plain.apply_all();
  plain.stop();
  for (std::uint32_t n = 1; n <= 2; ++n) {
    auto one = open_environment(directory / "copies/env" + std::to_string(n), 0);
    auto other = open_environment(plain.path_of(n), 0);
    CHECK(*lmdb::digest(one) == *lmdb::digest(other));
  }
}
