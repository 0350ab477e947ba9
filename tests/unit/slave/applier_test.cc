// SPDX-License-Identifier: Apache-2.0
#include "slave/applier.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/applier_fixture.h"

using namespace hotbackup;
using namespace hotbackup::test;
using update::OperationKind;

namespace {

void begin_history(ApplierFixture& f, std::uint32_t environments = 1) {
  f.writer().epoch();
  for (std::uint32_t n = 1; n <= environments; ++n)
    f.writer().environment(environment_body(n, "env" + std::to_string(n)));
}

}  // namespace

TEST_CASE("updates of several environments arrive in their copies, in order") {
  ApplierFixture f;
  f.start();
  begin_history(f, 2);
  f.writer().append(1, {put(main_database(), "a", "1"), put(named("n"), "x", "1")});
  f.writer().append(2, {put(main_database(), "b", "1")});
  f.apply_all();
  f.writer().append(
      1, {operation(OperationKind::kDeleteKey, named("n"), "x"), put(main_database(), "a", "2")});
  f.writer().append(2, std::vector<update::Operation>{});
  f.apply_all();
  CHECK(f.applier().applied().value == 7);
  CHECK(f.group().epoch() == Epoch{1, NodeId(1)});
  f.stop();
  CHECK(f.content_of(1) == "main: a=2 | n:");
  CHECK(f.content_of(2) == "main: b=1");
  CHECK(*slave::read_applied(f.group()) == slave::AppliedRange{UpdateNumber(7), UpdateNumber(7)});
}

TEST_CASE("a copy is made with map size and mode, and the capture link stands beside it") {
  ApplierFixture f;
  f.start();
  f.writer().epoch();
  auto body = environment_body(1, "zones", true);
  body.map_bytes = 123 << 20;
  body.mode = 0600;
  f.writer().environment(body);
  f.writer().append(1, {put(main_database(), "a", "1")});
  f.apply_all();
  f.stop();
  const std::string path = f.path_of(1);
  CHECK(path == f.directory() + "/copies/zones");
  struct stat status {};
  REQUIRE(::stat((path + "/data.mdb").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  char target[512] = {};
  REQUIRE(::readlink((path + "/.hotbackup").c_str(), target, sizeof target - 1) > 0);
  CHECK(std::string(target) == f.directory());
  auto environment = open_environment(path, 0, true);
  CHECK(environment.info().map_bytes == 123 << 20);
}

TEST_CASE("void updates leave nothing, short or long") {
  ApplierFixture f;
  begin_history(f);
  f.writer().append(1, {put(main_database(), "a", "1")});
  const auto small = f.writer().append(1, {put(main_database(), "a", "void")});
  f.writer().append(1, {put(main_database(), "b", "1")});
  const auto large = f.writer().append(1, [](const auto& add) {
    for (int i = 0; i < 9; ++i)
      add(put(main_database(), "big" + std::to_string(i), std::string(200'000, 'v')));
  });
  f.writer().append(1, {put(main_database(), "c", "1")});
  f.writer().sync();
  REQUIRE(f.group().journal().set_void(small.number, small.location));
  REQUIRE(f.group().journal().set_void(large.number, large.location));
  f.start();
  f.apply_all();
  f.stop();
  CHECK(f.content_of(1) == "main: a=1 b=1 c=1");
}

TEST_CASE("the map grows when it is full, beyond what the master said too") {
  ApplierFixture f;
  f.start();
  begin_history(f);
  const std::string value(3000, 'v');
  for (int update = 0; update < 40; ++update) {
    f.writer().append(1, [&](const auto& add) {
      for (int i = 0; i < 100; ++i)
        add(put(main_database(), std::to_string(update * 100 + i), value));
    });
    if (update % 10 == 0) f.apply_all();
  }
  f.apply_all();
  f.stop();
  auto environment = open_environment(f.path_of(1), 0);
  const auto digest = lmdb::digest(environment);
  REQUIRE(digest);
  CHECK(digest->at(0).items == 4000);
  CHECK(environment.info().map_bytes > 8 << 20);
}

TEST_CASE("an update that cannot be applied stops at it with an incident, not before") {
  ApplierFixture f;
  f.start();
  begin_history(f);
  f.writer().append(1, {put(main_database(), "a", "1")});
  f.writer().append(1, {put(named("n"), std::string(600, 'k'), "key too long for LMDB")});
  f.writer().append(1, {put(main_database(), "b", "1")});
  f.wake();
  REQUIRE(comes_true([&] { return !f.applier().working(); }));
  CHECK(f.applier().applied().value == 3);
  const auto incident = f.group().incidents().find("HB-apply-failed");
  REQUIRE(incident);
  CHECK(incident->code == "HB-apply-failed");
  CHECK(incident->text.find("update 4") != std::string::npos);
  CHECK(incident->text.find("env1") != std::string::npos);
  CHECK(incident->text.find("database n") != std::string::npos);
  f.stop();
  CHECK(f.content_of(1) == "main: a=1");
}

TEST_CASE("damage in the journal stops the applier with an incident after what is intact") {
  ApplierFixture f;
  f.start();
  begin_history(f);
  f.writer().append(1, {put(main_database(), "a", "1")});
  const auto damaged = f.writer().append(1, {put(main_database(), "b", "1")});
  f.writer().append(1, {put(main_database(), "c", "1")});
  f.writer().sync();
  auto file =
      f.group().journal_directory().open(journal::segment_name(damaged.location.segment_first));
  REQUIRE(file);
  REQUIRE((*file)->write_at(damaged.location.offset + journal::kFrameHeaderBytes + 3, "#"));
  f.wake();
  REQUIRE(comes_true([&] { return !f.applier().working(); }));
  CHECK(f.applier().applied().value == 3);
  CHECK(f.group().incidents().open().at(0).code == "HB-journal-damaged");
  f.stop();
  CHECK(f.content_of(1) == "main: a=1");
}

TEST_CASE("a place that holds something else is not overwritten") {
  ApplierFixture f;
  REQUIRE(os::make_directories(f.directory() + "/copies", {}));
  {
    auto other = open_environment(f.directory() + "/copies/env1");
    lmdb::DatabaseHandles handles;
    auto txn = lmdb::Transaction::begin(other, false);
    lmdb::OperationApplier applier(handles);
    REQUIRE(applier.apply(*txn, put(main_database(), "mine", "1")));
    REQUIRE(txn->commit());
  }
  begin_history(f);
  f.writer().append(1, {put(main_database(), "a", "1")});
  f.writer().sync();
  f.start();
  REQUIRE(comes_true([&] { return !f.applier().working(); }));
  CHECK(f.group().incidents().open().at(0).text.find("copies/env1 holds items") !=
        std::string::npos);
  f.stop();
  auto other = open_environment(f.directory() + "/copies/env1");
  CHECK(content(other) == "main: mine=1");
}

TEST_CASE("a main database becomes DUPSORT after named ones were applied") {
  ApplierFixture f;
  f.start();
  f.writer().epoch();
  f.writer().environment(environment_body(1, "env1"));
  f.writer().append(1, {put(named("names"), "x", "1")});
  f.writer().append(1, {put(main_database(MDB_DUPSORT), "a", "1")});
  f.apply_all();
  f.writer().append(1, {put(main_database(MDB_DUPSORT), "a", "2")});
  f.apply_all();
  f.stop();
  // What its record says is of no use to anybody: liblmdb opens no named database in such a one.
  CHECK(f.content_of(1).starts_with("main[4]: a=1 a=2 names="));
}

TEST_CASE("somebody else's write to a copy is an incident and applying goes on") {
  ApplierFixture f;
  f.start();
  begin_history(f);
  f.writer().append(1, {put(main_database(), "a", "1")});
  f.apply_all();
  f.stop();
  f.restart();
  f.start();
  f.writer().append(1, {put(main_database(), "a", "2")});
  f.apply_all();
  CHECK(f.group().incidents().open().empty());
  f.stop();
  {
    auto environment = open_environment(f.path_of(1), 0);
    lmdb::DatabaseHandles handles;
    auto txn = lmdb::Transaction::begin(environment, false);
    lmdb::OperationApplier applier(handles);
    REQUIRE(applier.apply(*txn, put(main_database(), "foreign", "1")));
    REQUIRE(txn->commit());
  }
  f.restart();
  f.start();
  f.writer().append(1, {put(main_database(), "a", "3")});
  f.apply_all();
  REQUIRE_FALSE(f.group().incidents().open().empty());
  CHECK(f.group().incidents().open().at(0).code == "HB-copy-written");
  f.stop();
  CHECK(f.content_of(1) == "main: a=3 foreign=1");
}

TEST_CASE("the stretch moves on and restarts begin where it says") {
  slave::ApplierLimits limits;
  limits.stretch_updates = 5;
  ApplierFixture f(limits);
  f.start();
  begin_history(f);
  for (int i = 1; i <= 20; ++i)
    f.writer().append(1, {put(main_database(), "n", std::to_string(i))});
  f.apply_all();
  const auto range = *slave::read_applied(f.group());
  REQUIRE(range);
  CHECK(range->lower.value >= 15);
  CHECK(range->upper.value >= 22);
  CHECK(f.applier().durable() == range->lower);
  // As after a kill: the file still says a range, and all of it is done again.
  f.stop();
  REQUIRE(slave::write_applied(f.group(), {UpdateNumber(4), UpdateNumber(18)}));
  f.restart();
  f.start();
  f.apply_all();
  f.stop();
  CHECK(f.content_of(1) == "main: n=20");
  CHECK(f.applier().applied().value == 22);
}

TEST_CASE(
    "without the applied file a journal that begins later is refused, from 1 on it is redone") {
  ApplierFixture f;
  f.start();
  begin_history(f);
  f.writer().append(1, {put(main_database(), "a", "1")});
  f.apply_all();
  f.stop();
  REQUIRE(::unlink((f.directory() + "/applied").c_str()) == 0);
  f.restart();
  f.start();
  f.apply_all();
  f.stop();
  CHECK(f.content_of(1) == "main: a=1");

  Position at{{1, NodeId(1)}, UpdateNumber(50), {1, 2}};
  {
    auto lock = f.group().journal().lock();
    REQUIRE(f.group().journal().restart_after(*lock, at));
  }
  f.writer().append(1, {put(main_database(), "b", "1")});
  REQUIRE(::unlink((f.directory() + "/applied").c_str()) == 0);
  const auto started = f.applier().start();
  REQUIRE_FALSE(started);
  CHECK(started.error().code() == ErrorCode::kCorrupt);
  // A journal that is shorter than what was applied is no better.
  REQUIRE(slave::write_applied(f.group(), {UpdateNumber(90), UpdateNumber(90)}));
  CHECK(f.applier().start().error().code() == ErrorCode::kCorrupt);
}

TEST_CASE("flag changes, drops and large values survive being done again over their result") {
  ApplierFixture f;
  begin_history(f);
  auto& w = f.writer();
  const auto dup = named("d", MDB_DUPSORT);
  w.append(1, {put(main_database(), "d", "an item called d")});
  w.append(1,
           {operation(OperationKind::kDeleteKey, main_database(), "d"), put(named("d"), "a", "1")});
  w.append(1, {operation(OperationKind::kDrop, named("d"))});
  w.append(1, {put(dup, "k", "1"), put(dup, "k", "2")});
  w.append(1, {operation(OperationKind::kDeletePair, dup, "k", "1"), put(named("big"), "x", "0")});
  w.append(1, [](const auto& add) {
    update::Operation large = operation(OperationKind::kPutLarge, named("big"), "x");
    large.value_bytes = 600'000;
    add(large);
    const std::string part(200'000, 'p');
    for (int i = 0; i < 3; ++i) add(operation(OperationKind::kValuePart, named("big"), {}, part));
  });
  f.start();
  f.apply_all();
  f.stop();
  const std::string expected = "main: | big: x=pppppppppppppppppppp | d[4]: k=2";
  CHECK(f.content_of(1) == expected);
  for (std::uint64_t lower = 2; lower < 8; ++lower) {
    REQUIRE(slave::write_applied(f.group(), {UpdateNumber(lower), UpdateNumber(100)}));
    f.restart();
    f.start();
    f.apply_all();
    f.stop();
    CHECK(f.content_of(1) == expected);
  }
}
