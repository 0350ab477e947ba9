// SPDX-License-Identifier: Apache-2.0
// The loss limit as a program meets it. No server runs: the test plays the slave.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "master/capture/hotbackup.h"
#include "tests/unit/capture/transaction.h"

using namespace hotbackup;
using namespace hotbackup::test;
using control::AtLimit;
using control::LimitKind;
using control::LossLimit;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

namespace {

constexpr char kIncident[] = "HB-loss-limit";

LossLimit limit_of(LimitKind kind, std::uint64_t amount, AtLimit at_limit,
                   milliseconds wait_max = milliseconds(0)) {
  LossLimit limit;
  limit.kind = kind;
  limit.amount = amount;
  limit.at_limit = at_limit;
  limit.wait_max = wait_max;
  return limit;
}

int write(MDB_env* env, std::string_view key, std::size_t bytes = 1) {
  Txn txn(env);
  REQUIRE(txn.put(txn.open(nullptr, 0), key, std::string(bytes, 'v')) == 0);
  return txn.commit();
}

/// A group with one environment whose baseline is acknowledged; then the limit is put in force.
class Limited {
 public:
  explicit Limited(const LossLimit& limit) : env_(fixture_.environment_directory("env")) {
    REQUIRE(write(env_.get(), "first") == 0);
    REQUIRE(group().set_loss_limit(limit, {"lyon"}));
    acknowledge_all();
  }
  control::Group& group() { return fixture_.group(); }
  GroupFixture& fixture() { return fixture_; }
  MDB_env* env() { return env_.get(); }
  void acknowledge(std::uint64_t number) {
    group().peer("lyon")->journaled.store(number);
    group().note_acknowledged();
  }
  void acknowledge_all() { acknowledge(group().made().value); }
  bool alarmed() { return group().incidents().find(kIncident).has_value(); }

 private:
  GroupFixture fixture_;
  Env env_;
};

/// A commit on a thread of its own.
class Writing {
 public:
  Writing(MDB_env* env, std::string key, std::size_t bytes = 1)
      : thread_([this, env, key = std::move(key), bytes] {
          result_ = write(env, key, bytes);
          number_ = hotbackup_last_update(env);
          done_ = true;
        }) {}
  ~Writing() { thread_.join(); }
  bool done() const { return done_; }
  int result() {
    while (!done_) std::this_thread::yield();
    return result_;
  }
  std::uint64_t number() const { return number_; }

 private:
  std::atomic<bool> done_{false};
  std::atomic<int> result_{-1};
  std::atomic<std::uint64_t> number_{0};
  std::thread thread_;
};

template <class Condition>
void until(Condition condition) {
  const auto deadline = Clock::now() + seconds(20);
  while (!condition()) {
    REQUIRE(Clock::now() < deadline);
    std::this_thread::sleep_for(milliseconds(1));
  }
}

}  // namespace

TEST_CASE("with limit 0 a commit returns when its update is acknowledged, and not before") {
  for (const AtLimit at_limit : {AtLimit::kWait, AtLimit::kAlarm, AtLimit::kRefuse}) {
    Limited group(limit_of(LimitKind::kUpdates, 0, at_limit));
    const std::uint64_t before = group.group().made().value;
    Writing writing(group.env(), "waits");
    until([&] { return group.group().exposure().somebody_waits(); });
    CHECK(group.group().decided().value == before + 1);  // what waits is committed: no open slot
    CHECK_FALSE(writing.done());
    group.acknowledge(before);
    CHECK_FALSE(writing.done());
    CHECK(group.group().exposure().returned() == before);
    group.acknowledge(before + 1);
    CHECK(writing.result() == 0);
    CHECK(writing.number() == before + 1);
    CHECK_FALSE(group.alarmed());
  }
}

TEST_CASE("at a limit of updates commits wait, and go on one by one with acknowledgements") {
  Limited group(limit_of(LimitKind::kUpdates, 3, AtLimit::kWait));
  const std::uint64_t base = group.group().made().value;
  for (const char* key : {"a", "b", "c"}) CHECK(write(group.env(), key) == 0);
  Writing fourth(group.env(), "d");
  Writing fifth(group.env(), "e");
  until([&] {
    return group.group().exposure().somebody_waits() && group.group().decided().value == base + 5;
  });
  CHECK(group.group().exposure().returned() == base + 3);
  group.acknowledge(base + 1);
  until([&] { return fourth.done() || fifth.done(); });
  CHECK(group.group().exposure().returned() == base + 4);
  CHECK_FALSE((fourth.done() && fifth.done()));
  group.acknowledge(base + 2);
  CHECK(fourth.result() == 0);
  CHECK(fifth.result() == 0);
}

TEST_CASE("a refused commit is an error of its own and leaves nothing") {
  Limited group(limit_of(LimitKind::kUpdates, 3, AtLimit::kRefuse, seconds(5)));
  const std::uint64_t base = group.group().made().value;
  for (const char* key : {"a", "b", "c"}) CHECK(write(group.env(), key) == 0);
  const auto begun = Clock::now();
  CHECK(write(group.env(), "refused") == EAGAIN);
  CHECK(Clock::now() - begun < seconds(4));
  CHECK(group.group().made().value == base + 3);
  CHECK(group.group().exposure().refuses());
  CHECK(group.alarmed());
  CHECK_FALSE(content_of(group.env())[""].items.contains({"refused", "v"}));
  group.acknowledge(base + 1);
  CHECK(write(group.env(), "d") == 0);
  CHECK(write(group.env(), "again") == EAGAIN);
  group.acknowledge_all();
  CHECK(write(group.env(), "e") == 0);
}

TEST_CASE("the first update of an environment fits a small limit when all is acknowledged") {
  Limited group(limit_of(LimitKind::kUpdates, 1, AtLimit::kRefuse));
  Env other(group.fixture().environment_directory("env-other"));
  // With its baseline three numbers: it is not refused, and waits for those before it.
  const std::uint64_t base = group.group().made().value;
  Writing writing(other.get(), "a");
  until([&] { return group.group().exposure().somebody_waits(); });
  group.acknowledge(base + 2);
  CHECK(writing.result() == 0);
  CHECK(writing.number() == base + 3);
  CHECK(write(other.get(), "b") == EAGAIN);
  group.acknowledge_all();
  CHECK(write(other.get(), "b") == 0);
}

TEST_CASE("baselines count before a refusing limit is passed") {
  Limited group(limit_of(LimitKind::kUpdates, 4, AtLimit::kRefuse));
  Env other(group.fixture().environment_directory("env-other"));
  CHECK(write(group.env(), "a") == 0);
  CHECK(write(group.env(), "b") == 0);
  CHECK(write(other.get(), "a") == EAGAIN);  // 3 more numbers
  CHECK(write(group.env(), "c") == 0);
}

TEST_CASE(
    "a commit that happened is a success after wait_max, and an incident says what it means") {
  Limited group(limit_of(LimitKind::kUpdates, 0, AtLimit::kWait, milliseconds(120)));
  const auto begun = Clock::now();
  CHECK(write(group.env(), "late") == 0);
  const auto took = Clock::now() - begun;
  CHECK(took >= milliseconds(120));
  CHECK(took < seconds(10));
  CHECK(content_of(group.env())[""].items.contains({"late", "v"}));
  CHECK(group.group().exposure().passed());
  REQUIRE(group.alarmed());
  CHECK(group.group().incidents().find(kIncident)->text.find("1 update is exposed") !=
        std::string::npos);
}

TEST_CASE("with refuse a commit that waited in vain succeeds, and the next ones are refused") {
  Limited group(limit_of(LimitKind::kUpdates, 0, AtLimit::kRefuse, milliseconds(50)));
  CHECK(write(group.env(), "late") == 0);
  CHECK(group.alarmed());
  CHECK(write(group.env(), "next") == EAGAIN);
  group.acknowledge_all();
  Writing writing(group.env(), "good");
  until([&] {
    group.acknowledge_all();
    return writing.done();
  });
  CHECK(writing.result() == 0);
}

TEST_CASE("an alarm never waits and is raised once") {
  Limited group(limit_of(LimitKind::kUpdates, 2, AtLimit::kAlarm));
  CHECK(write(group.env(), "a") == 0);
  CHECK(write(group.env(), "b") == 0);
  CHECK_FALSE(group.alarmed());
  for (const char* key : {"c", "d", "e"}) CHECK(write(group.env(), key) == 0);
  REQUIRE(group.alarmed());
  CHECK(group.group().incidents().find(kIncident)->count == 1);
  CHECK(group.group().exposure().passed());
}

TEST_CASE("an update larger than a limit of bytes waits for its own acknowledgement") {
  for (const AtLimit at_limit : {AtLimit::kWait, AtLimit::kRefuse}) {
    Limited group(limit_of(LimitKind::kBytes, 20'000, at_limit));
    CHECK(write(group.env(), "small", 100) == 0);
    Writing writing(group.env(), "large", 50'000);
    until([&] { return group.group().exposure().somebody_waits(); });
    group.acknowledge(group.group().made().value - 1);
    CHECK_FALSE(writing.done());
    group.acknowledge_all();
    CHECK(writing.result() == 0);
    CHECK_FALSE(group.alarmed());
  }
}

TEST_CASE("small updates are refused when their bytes together would pass the limit") {
  Limited group(limit_of(LimitKind::kBytes, 20'000, AtLimit::kRefuse));
  int written = 0;
  while (write(group.env(), "k" + std::to_string(written), 1000) == 0) REQUIRE(++written < 30);
  CHECK(written >= 15);
  CHECK(written < 20);
  group.acknowledge_all();
  CHECK(write(group.env(), "k", 1000) == 0);
}

TEST_CASE("a limit of time refuses while the oldest update is too old") {
  Limited group(limit_of(LimitKind::kTime, 80'000'000, AtLimit::kRefuse, milliseconds(1)));
  CHECK(write(group.env(), "a") == 0);
  until([&] { return group.group().exposure().passed(); });
  CHECK(write(group.env(), "b") == EAGAIN);
  group.acknowledge_all();
  CHECK(write(group.env(), "c") == 0);
}

TEST_CASE("a commit waits until the oldest update is young enough or acknowledged") {
  Limited group(limit_of(LimitKind::kTime, 50'000'000, AtLimit::kWait));
  CHECK(write(group.env(), "a") == 0);
  const std::uint64_t old = group.group().made().value;
  until([&] { return group.group().exposure().passed(); });
  Writing writing(group.env(), "b");
  until([&] { return group.group().exposure().somebody_waits(); });
  CHECK_FALSE(writing.done());
  group.acknowledge(old + 1);
  CHECK(writing.result() == 0);
}

TEST_CASE("wait_for applied waits for the copy and not for the journal") {
  LossLimit limit = limit_of(LimitKind::kUpdates, 0, AtLimit::kWait);
  limit.applied = true;
  Limited group(limit);
  Writing writing(group.env(), "a");
  until([&] { return group.group().exposure().somebody_waits(); });
  group.acknowledge_all();
  CHECK_FALSE(writing.done());
  group.group().peer("lyon")->applied.store(group.group().made().value);
  group.group().note_acknowledged();
  CHECK(writing.result() == 0);
}

TEST_CASE("a thread with open transactions in two environments waits without holding anybody up") {
  Limited group(limit_of(LimitKind::kUpdates, 0, AtLimit::kWait));
  Env other(group.fixture().environment_directory("env-other"));
  std::atomic<bool> stop{false};
  // The slave: acknowledges what is published, as an open slot would keep it from doing.
  std::thread slave([&] {
    while (!stop) {
      group.acknowledge(group.group().published().value);
      std::this_thread::sleep_for(milliseconds(1));
    }
  });
  for (int i = 0; i < 20; ++i) {
    Txn outer(other);
    REQUIRE(outer.put(outer.open(nullptr, 0), "outer", std::to_string(i)) == 0);
    CHECK(write(group.env(), "inner" + std::to_string(i)) == 0);
    CHECK(outer.commit() == 0);
  }
  stop = true;
  slave.join();
  CHECK_FALSE(group.alarmed());
}

TEST_CASE("who waits goes on when the limit is switched off or the group is unlinked") {
  {
    Limited group(limit_of(LimitKind::kUpdates, 0, AtLimit::kWait));
    Writing writing(group.env(), "a");
    until([&] { return group.group().exposure().somebody_waits(); });
    REQUIRE(group.group().set_loss_limit(LossLimit{}, {"lyon"}));
    CHECK(writing.result() == 0);
  }
  Limited group(limit_of(LimitKind::kUpdates, 0, AtLimit::kWait));
  Writing writing(group.env(), "a");
  until([&] { return group.group().exposure().somebody_waits(); });
  REQUIRE(group.group().turn_off());
  CHECK(writing.result() == 0);
}

TEST_CASE("a commit that waits while another node is promoted has succeeded, and is named") {
  Limited group(limit_of(LimitKind::kUpdates, 0, AtLimit::kWait));
  Writing writing(group.env(), "a");
  until([&] { return group.group().exposure().somebody_waits(); });
  REQUIRE(group.group().hear_epoch({9, NodeId(0x77)}, "lyon"));
  CHECK(writing.result() == 0);
  const std::string update = "update " + std::to_string(group.group().made().value);
  CHECK(group.group().incidents().find("HB-fenced", update));
}

TEST_CASE(
    "a limit that changes while commits wait is never off, nor the one by the other's measure") {
  Limited group(limit_of(LimitKind::kUpdates, 0, AtLimit::kWait));
  Writing writing(group.env(), "a");
  until([&] { return group.group().exposure().somebody_waits(); });
  const LossLimit nothing = limit_of(LimitKind::kUpdates, 0, AtLimit::kWait);
  const LossLimit bytes = limit_of(LimitKind::kBytes, 0, AtLimit::kRefuse);
  const std::vector<std::string> peers{"lyon"};
  for (int i = 0; i < 20'000; ++i) {
    auto lock = group.group().journal().lock();
    group.group().exposure().set_limit(i % 2 == 0 ? bytes : nothing, peers);
  }
  CHECK_FALSE(writing.done());
  group.acknowledge_all();
  CHECK(writing.result() == 0);
}

TEST_CASE("without a limit nothing is counted") {
  Limited group(LossLimit{});
  for (const char* key : {"a", "b", "c"}) CHECK(write(group.env(), key) == 0);
  CHECK(group.group().exposure().returned() == 0);
  CHECK(group.group().exposure().bytes_through() == 0);
}

TEST_CASE("several writers never expose more than a refusing or a waiting limit, at any instant") {
  for (const AtLimit at_limit : {AtLimit::kRefuse, AtLimit::kWait}) {
    constexpr std::uint64_t kLimit = 20;
    Limited group(limit_of(LimitKind::kUpdates, kLimit, at_limit));
    std::vector<std::unique_ptr<Env>> envs;
    for (int i = 0; i < 4; ++i)
      envs.push_back(
          std::make_unique<Env>(group.fixture().environment_directory("env-" + std::to_string(i))));
    std::atomic<bool> stop{false};
    // Told to callers: bit by number.
    std::vector<std::atomic<bool>> told(100'000);
    std::vector<std::thread> writers;
    for (auto& env : envs)
      writers.emplace_back([&, env = env->get()] {
        while (!stop)
          if (write(env, "k") == 0) told[hotbackup_last_update(env)] = true;
      });
    std::uint64_t most = 0, seen = 0;
    const std::uint64_t base = group.group().made().value;
    for (int round = 0; round < 30; ++round) {
      // The slave is frozen until the limit is reached; then it acknowledges a part.
      until([&] {
        std::uint64_t count = 0;
        const std::uint64_t made = group.group().made().value;
        const std::uint64_t acknowledged = group.group().exposure().acknowledged();
        for (std::uint64_t n = acknowledged + 1; n <= made; ++n) count += told[n] ? 1 : 0;
        most = std::max(most, count);
        // Rounds in which a writer stands still within its commit would not count.
        return made >= acknowledged + kLimit && group.group().decided().value > seen;
      });
      seen = group.group().decided().value;
      group.acknowledge(seen - 3);
    }
    CHECK(most <= kLimit);
    CHECK(most > kLimit / 2);
    CHECK(seen > base + 30);
    stop = true;
    REQUIRE(group.group().set_loss_limit(LossLimit{}, {"lyon"}));
    for (std::thread& writer : writers) writer.join();
  }
}
