// SPDX-License-Identifier: Apache-2.0
#include "tools/compare/comparison.h"

#include <doctest/doctest.h>

#include <map>
#include <thread>

using namespace hotbackup;
using namespace hotbackup::compare;

namespace {

using wire::CompareAnswer;
using wire::CompareAsk;
using Kind = CompareAsk::Kind;

/// A side that answers for snapshots and has a few databases of no items.
class Script final : public Side {
 public:
  Result<CompareAnswer> ask(const CompareAsk& ask) override {
    ++asked[static_cast<int>(ask.kind)];
    CompareAnswer answer;
    if (ask.kind == Kind::kCut)
      answer.number = UpdateNumber(40 + asked[static_cast<int>(ask.kind)]);
    if (ask.kind == Kind::kSnapshot) {
      answer.number = UpdateNumber(reached);
      answer.more = !arrives;
    }
    if (ask.kind == Kind::kDatabases) answer.databases = databases;
    if (ask.kind == Kind::kHash) {
      if (slow.count() != 0) std::this_thread::sleep_for(slow);
      answer.body = std::string(16, '\0');
    }
    return answer;
  }
  std::map<int, int> asked;
  std::vector<wire::ComparedDatabase> databases;
  std::uint64_t reached = 0;
  bool arrives = true;
  std::chrono::milliseconds slow{0};
};

wire::ComparedDatabase database(const std::string& name, std::uint32_t flags = 0) {
  return {EnvironmentNumber(1), "one", name.empty(), name, flags, 0};
}

}  // namespace

TEST_CASE("snapshots that are old are given up before the next database, and each is looked at") {
  Script master;
  Script slave;
  master.databases = slave.databases = {database(""), database("a"), database("b")};
  master.slow = std::chrono::milliseconds(3);
  Limits limits;
  limits.snapshot = std::chrono::milliseconds(1);
  Comparison comparison(master, slave, limits);
  const auto outcome = comparison.run();
  REQUIRE(outcome);
  CHECK(outcome->databases == 3);
  CHECK(outcome->snapshots == 3);
  CHECK(outcome->number == UpdateNumber(43));
  CHECK(outcome->differences.empty());
}

TEST_CASE("databases that only one side has, or with other flags, are named") {
  Script master;
  Script slave;
  master.databases = {database(""), database("flags", 4), database("mine")};
  slave.databases = {database(""), database("flags"), database("yours")};
  Comparison comparison(master, slave);
  const auto outcome = comparison.run();
  REQUIRE(outcome);
  REQUIRE(outcome->differences.size() == 3);
  CHECK(outcome->differences[0].what == What::kWrongFlags);
  CHECK(outcome->differences[0].flags == 4);
  CHECK(outcome->differences[1].what == What::kMissingDatabase);
  CHECK(outcome->differences[2].what == What::kExtraDatabase);
}

TEST_CASE("a slave that does not come nearer to the number is not waited for") {
  Script master;
  Script slave;
  slave.arrives = false;
  slave.reached = 12;
  Limits limits;
  limits.no_progress = std::chrono::milliseconds(1);
  Comparison comparison(master, slave, limits);
  const auto outcome = comparison.run();
  REQUIRE(!outcome);
  CHECK(outcome.error().code() == ErrorCode::kTimeout);
  CHECK(outcome.error().text().find("update 12") != std::string::npos);
}

TEST_CASE("flags of a main database are nothing that a repair can mend") {
  Script master;
  Script slave;
  Comparison comparison(master, slave);
  const auto repaired =
      comparison.repair({{EnvironmentNumber(1), "one", true, "", 0, "", What::kWrongFlags}});
  REQUIRE(!repaired);
  CHECK(repaired.error().code() == ErrorCode::kRefused);
  CHECK(slave.asked.empty());
}
