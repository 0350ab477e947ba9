// SPDX-License-Identifier: Apache-2.0
#include "slave/copies.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include "tests/support/group_fixture.h"
#include "tests/support/lmdb_content.h"

using namespace hotbackup;
using namespace hotbackup::test;

TEST_CASE("a copy lies where this node says, or under the group's directory") {
  TemporaryDirectory directory;
  auto record = group_record(control::Role::kSlave);
  record.patterns = {{"zones", "/data/pdns.lmdb*"}, {"users", "/data/users"}, {"rest", ""}};
  auto group = make_group(directory.path(), record);
  slave::Copies copies(*group);
  auto body = environment_body(1, "zones-3");
  body.configured = "zones";
  body.match = "-7";
  CHECK(*copies.local_path(body) == "/data/pdns.lmdb-7");
  body.match = "";
  CHECK(*copies.local_path(body) == "/data/pdns.lmdb");
  body.configured = "users";
  CHECK(*copies.local_path(body) == "/data/users");
  body.match = "-7";
  CHECK(copies.local_path(body).error().code() == ErrorCode::kConfig);
  body.configured = "elsewhere";
  CHECK(*copies.local_path(body) == directory.path() + "/copies/zones-3");
}

TEST_CASE("adding an environment again changes nothing, another name under its number is refused") {
  TemporaryDirectory directory;
  auto group = make_group(directory.path(), group_record(control::Role::kSlave));
  slave::Copies copies(*group);
  REQUIRE(copies.add(environment_body(1, "a")));
  REQUIRE(copies.add(environment_body(1, "a")));
  CHECK(copies.add(environment_body(1, "b")).error().code() == ErrorCode::kDiverged);
  CHECK(copies.open(EnvironmentNumber(2)).error().code() == ErrorCode::kNotFound);
  CHECK(copies.open(EnvironmentNumber(1)));
}

TEST_CASE("a copy that went away is an error, not made anew") {
  TemporaryDirectory directory;
  auto group = make_group(directory.path(), group_record(control::Role::kSlave));
  slave::Copies copies(*group);
  REQUIRE(copies.add(environment_body(1, "a")));
  REQUIRE(::unlink((directory / "copies/a").c_str()) == 0);
  CHECK(copies.open(EnvironmentNumber(1)).error().code() == ErrorCode::kNotFound);
}

TEST_CASE("a directory that another group captures is refused") {
  TemporaryDirectory directory;
  TemporaryDirectory data;
  TemporaryDirectory other;
  auto record = group_record(control::Role::kSlave);
  record.patterns = {{"users", data / "users"}};
  auto group = make_group(directory.path(), record);
  REQUIRE(::symlink(other.path().c_str(), (data / ".hotbackup").c_str()) == 0);
  slave::Copies copies(*group);
  const auto added = copies.add(environment_body(1, "users"));
  REQUIRE_FALSE(added);
  CHECK(added.error().code() == ErrorCode::kRefused);
}

TEST_CASE("room is made, used and given back without harm to a reader") {
  TemporaryDirectory directory;
  auto group = make_group(directory.path(), group_record(control::Role::kSlave));
  slave::Copies copies(*group);
  REQUIRE(copies.add(environment_body(1, "a")));
  auto copy = *copies.open(EnvironmentNumber(1));
  REQUIRE(copy->make_room(100 << 20));
  CHECK(copy->room() >= 100 << 20);
  {
    auto txn = lmdb::Transaction::begin(copy->environment(), false);
    lmdb::OperationApplier applier(copy->handles());
    REQUIRE(applier.apply(*txn, put(main_database(), "a", std::string(1 << 20, 'x'))));
    REQUIRE(txn->commit());
  }
  REQUIRE(copy->give_back());
  CHECK(copy->room() < 20 << 20);
  CHECK(content(copy->environment()) == "main: a=xxxxxxxxxxxxxxxxxxxx");
}
