// SPDX-License-Identifier: Apache-2.0
#include "common/update/codec.h"

#include <doctest/doctest.h>

#include <random>

#include "hotbackup.pb.h"

using namespace hotbackup;
using namespace hotbackup::update;

namespace {

std::string sample_body() {
  std::string bytes;
  BodyWriter writer(bytes);
  const Database main{true, {}, 0};
  const Database words{false, "words", 4};
  writer.add({OperationKind::kCreate, words, {}, {}, 0});
  writer.add({OperationKind::kPut, words, "key", "value", 0});
  writer.add({OperationKind::kDeletePair, words, "key", "old", 0});
  writer.add({OperationKind::kPut, main, std::string_view("\0\xff", 2), "", 0});
  writer.add({OperationKind::kPutLarge, main, "big", {}, 1 << 20});
  writer.add({OperationKind::kValuePart, main, {}, std::string_view("part"), 0});
  return bytes;
}

}  // namespace

TEST_CASE("a body reads back as the operations that were written") {
  const std::string bytes = sample_body();
  std::vector<std::string> seen;
  REQUIRE(read_body(bytes, [&](const Operation& o) -> Result<> {
    seen.push_back(std::string(operation_kind_name(o.kind)) + " " +
                   (o.database.main ? "main" : std::string(o.database.name)) + " " +
                   std::string(o.key) + " " + std::string(o.value) + " " +
                   std::to_string(o.value_bytes) + " " + std::to_string(o.database.flags));
    return {};
  }));
  REQUIRE(seen.size() == 6);
  CHECK(seen[0] == "create words   0 4");
  CHECK(seen[1] == "put words key value 0 4");
  CHECK(seen[2] == "delete_pair words key old 0 4");
  CHECK(seen[4] == "put_large main big  1048576 0");
  CHECK(seen[5] == "value_part main  part 0 0");
}

TEST_CASE("what protozero writes is what the proto file defines") {
  proto::UpdateBody body;
  REQUIRE(body.ParseFromString(sample_body()));
  REQUIRE(body.database_size() == 2);
  CHECK(body.database(0).name() == "words");
  CHECK(body.database(1).main());
  REQUIRE(body.operation_size() == 6);
  CHECK(body.operation(1).key() == "key");
  CHECK(body.operation(2).kind() == proto::Operation::DELETE_PAIR);
  CHECK(body.operation(4).value_bytes() == 1 << 20);
}

TEST_CASE("the error of a visitor stops the reading and comes back") {
  int seen = 0;
  const auto result = read_body(sample_body(), [&](const Operation&) -> Result<> {
    ++seen;
    return fail(ErrorCode::kBusy, "stop");
  });
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::kBusy);
  CHECK(seen == 1);
}

TEST_CASE("damaged bodies are errors, never crashes") {
  const std::string good = sample_body();
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string bad = good;
    for (unsigned flips = 1 + random() % 4; flips > 0; --flips)
      bad[random() % bad.size()] = static_cast<char>(random());
    bad.resize(random() % (bad.size() + 1));
    (void)read_body(bad, [](const Operation&) -> Result<> { return {}; });
    (void)read_environment(bad);
    (void)read_baseline(bad);
    (void)read_epoch(bad);
  }
}

TEST_CASE("an environment whose name would leave the copies' directory is refused") {
  for (const char* name : {"../x", "a/b", ".hidden", ""}) {
    EnvironmentBody body;
    body.number = EnvironmentNumber(1);
    body.name = name;
    CHECK_FALSE(read_environment(write_environment(body)));
  }
}

TEST_CASE("environment, baseline and epoch bodies read back") {
  EnvironmentBody environment{
      EnvironmentNumber(3), "zones-3", "zones", "-1", false, 1 << 30, 0640, "pdns"};
  const auto e = read_environment(write_environment(environment));
  REQUIRE(e);
  CHECK(e->number == EnvironmentNumber(3));
  CHECK(e->match == "-1");
  CHECK_FALSE(e->subdirectory);
  CHECK(e->mode == 0640);
  const auto b = read_baseline(write_baseline({NodeId(9), EnvironmentNumber(2), TxnId(77)}));
  REQUIRE(b);
  CHECK(b->txnid == TxnId(77));
  const auto p = read_epoch(write_epoch({{5, NodeId(6)}, "paris"}));
  REQUIRE(p);
  CHECK(p->epoch == Epoch{5, NodeId(6)});
}
