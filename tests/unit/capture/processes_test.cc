// SPDX-License-Identifier: Apache-2.0
// Unmodified programs under LD_PRELOAD, several at once, and updates larger than memory.
#include <doctest/doctest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <random>
#include <thread>

#include "tests/unit/capture/transaction.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

const std::pair<std::string, std::string> kPreload{"LD_PRELOAD", HOTBACKUP_LIBRARY};

void check_numbers(GroupFixture& fixture) {
  std::uint64_t due = 1;
  for (const auto& update : fixture.updates()) {
    CHECK(update.number.value == due++);
    CHECK_FALSE(update.is_void);
  }
  CHECK(fixture.group().published() == fixture.group().made());
}

void check_copy(GroupFixture& fixture, std::uint32_t number, const std::string& path) {
  Env env(path);
  Copy copy(fixture, EnvironmentNumber(number), fixture.path() + "/copy" + std::to_string(number));
  copy.replay();
  CHECK(explain(content_of(env.get()), copy.content()) == "");
  CHECK(fixture.group().layout().environments[number - 1].state.load() == 0);
}

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0, resident = 0, shared = 0;
  file >> total >> resident >> shared;
  return (resident - shared) * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

TEST_CASE("an unmodified program is captured by LD_PRELOAD") {
  GroupFixture fixture;
  const std::string path = fixture.environment_directory("env");
  REQUIRE(run_program({helper("capture_plain_program"), "put", path, "k", "v"}, {kPreload}) == 0);
  CHECK(fixture.last_operations() == std::vector<std::string>{"put users k=v"});
}

TEST_CASE("a program that reaches liblmdb through a plugin with local symbols is captured") {
  GroupFixture fixture;
  const std::string path = fixture.environment_directory("env");
  REQUIRE(run_program({helper("capture_plugin_host"), helper("libcapture_plugin.so"), path},
                      {kPreload}) == 0);
  CHECK(fixture.last_operations() == std::vector<std::string>{"put (main) plugin=plugin"});
}

TEST_CASE("two processes with four threads each write two environments of one group") {
  GroupFixture fixture;
  const std::string a = fixture.environment_directory("env-a");
  const std::string b = fixture.environment_directory("env-b");
  int codes[2] = {-1, -1};
  {
    std::vector<std::thread> running;
    for (int p = 0; p < 2; ++p) {
      running.emplace_back([&, p] {
        codes[p] = run_program({helper("capture_plain_program"), "write", a, b, "--threads", "4",
                                "--transactions", "100", "--name", "p" + std::to_string(p)},
                               {kPreload});
      });
    }
    for (std::thread& thread : running) thread.join();
  }
  CHECK(codes[0] == 0);
  CHECK(codes[1] == 0);
  check_numbers(fixture);
  CHECK(fixture.group().made().value >= 800);
  check_copy(fixture, 1, fixture.group().layout().environments[0].path);
  check_copy(fixture, 2, fixture.group().layout().environments[1].path);
}

TEST_CASE("writers killed at any moment leave environments and journal in step") {
  GroupFixture fixture;
  const std::string a = fixture.environment_directory("env-a");
  const std::string b = fixture.environment_directory("env-b");
  std::mt19937 random(7);
  for (int round = 0; round < 12; ++round) {
    const pid_t pid = start_program({helper("capture_plain_program"), "write", a, b, "--threads",
                                     "3", "--transactions", "100000"},
                                    {kPreload});
    const std::uint64_t until = fixture.group().made().value + 10 + random() % 40;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (fixture.group().made().value < until && std::chrono::steady_clock::now() < deadline)
      std::this_thread::yield();
    REQUIRE(fixture.group().made().value >= until);
    REQUIRE(::kill(pid, SIGKILL) == 0);
    CHECK(wait_for_end(pid) == -SIGKILL);
  }
  for (const std::string& path : {a, b})
    REQUIRE(run_program({helper("capture_plain_program"), "put", path, "k", "v"}, {kPreload}) == 0);
  CHECK(fixture.group().published() == fixture.group().made());
  std::uint64_t due = 1;
  for (const auto& update : fixture.updates()) CHECK(update.number.value == due++);
  for (std::uint32_t number : {1u, 2u})
    check_copy(fixture, number, fixture.group().layout().environments[number - 1].path);
}

TEST_CASE("threads of one process share an environment while others read it") {
  GroupFixture fixture;
  const std::string path = fixture.environment_directory("env");
  {
    Env env(path, MDB_NOSYNC);
    std::vector<std::thread> running;
    for (int t = 0; t < 4; ++t) {
      running.emplace_back([&, t] {
        for (int n = 0; n < 200; ++n) {
          MDB_txn* txn = nullptr;
          const bool read = t == 3;
          if (mdb_txn_begin(env.get(), nullptr, read ? MDB_RDONLY : 0, &txn) != 0) continue;
          MDB_dbi dbi = 0;
          if (mdb_dbi_open(txn, "users", read ? 0 : MDB_CREATE, &dbi) == 0 && !read) {
            const std::string key = std::to_string(t) + "-" + std::to_string(n % 20);
            MDB_val k = val(key), v = val(key);
            mdb_put(txn, dbi, &k, &v, 0);
          }
          if (read)
            mdb_txn_abort(txn);
          else
            mdb_txn_commit(txn);
        }
      });
    }
    for (std::thread& thread : running) thread.join();
    REQUIRE(mdb_env_sync(env.get(), 1) == 0);
  }
  check_numbers(fixture);
  check_copy(fixture, 1, path);
}

TEST_CASE("a transaction of 100 MB spills, in bounded memory, and so does what it aborts") {
  GroupFixture fixture;
  const std::string path = fixture.environment_directory("env");
  std::size_t most = 0;
  {
    Env env(path, MDB_WRITEMAP);  // LMDB itself would hold the pages in memory otherwise
    Txn txn(env);
    const MDB_dbi users = txn.open("users");
    const std::size_t before = resident_bytes();
    const std::string value(100'000, 'v');
    for (int n = 0; n < 1000; ++n) {
      REQUIRE(txn.put(users, std::to_string(n), value) == 0);
      most = std::max(most, resident_bytes() - before);
    }
    CHECK(most < 24u << 20);
    REQUIRE(txn.commit() == 0);
  }
  {
    Env env(path);
    Txn txn(env);
    const MDB_dbi users = txn.open("users");
    REQUIRE(txn.put(users, "before", "1") == 0);
    {
      Txn child(env.get(), txn);
      const std::string value(50'000, 'a');
      for (int n = 0; n < 200; ++n)
        REQUIRE(child.put(users, "gone" + std::to_string(n), value) == 0);
    }
    REQUIRE(txn.put(users, "after", "1") == 0);
    REQUIRE(txn.commit() == 0);
  }
  CHECK(fixture.last_operations() ==
        std::vector<std::string>{"put users before=1", "put users after=1"});
  check_numbers(fixture);
  check_copy(fixture, 1, path);
}
