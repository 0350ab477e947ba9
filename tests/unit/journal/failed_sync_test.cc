// SPDX-License-Identifier: Apache-2.0
// Rule R10: what happens when a sync of the journal fails.
#include <doctest/doctest.h>

#include <thread>

#include "tests/support/failing_directory.h"
#include "tests/support/journal_fixture.h"

using namespace hotbackup;
using namespace hotbackup::journal;

namespace {

/// A journal on a disk that fails when told to, beside the fixture's own of the same directory.
struct OnFailingDisk {
  OnFailingDisk()
      : disk(fixture.directory()), journal(disk, fixture.tail(), test::test_group(), 1 << 20) {}

  Appended append(std::string_view body) {
    PendingUpdate update(disk);
    update.body() += body;
    auto lock = journal.lock();
    return *journal.append(*lock, update, {});
  }
  /// "body" of each update, "-" for a void one.
  std::string read_all() {
    Reader reader(fixture.directory(), test::test_group());
    REQUIRE(reader.seek(UpdateNumber(1)));
    std::string all;
    while (auto frame = *reader.next(fixture.made()))
      all += frame->header.is_void() ? "-" : std::string(frame->body);
    return all;
  }

  test::JournalFixture fixture;
  test::FailingDirectory disk;
  Journal journal;
};

}  // namespace

TEST_CASE("after a failed sync what was not durable goes on in a new segment") {
  OnFailingDisk f;
  f.append("a");
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  f.append("b");
  f.append("c");
  f.disk.failing.syncs = 1;
  REQUIRE(f.journal.sync_through(UpdateNumber(3)));
  CHECK(f.disk.failing.failed_syncs == 1);
  CHECK(f.fixture.tail().synced.load() == 3);
  CHECK(f.fixture.tail().failures.load() == 1);
  CHECK(f.fixture.tail().segment_first.load() == 2);
  f.append("d");
  CHECK(f.read_all() == "abcd");
  REQUIRE(f.fixture.recover());
  CHECK(f.fixture.made() == UpdateNumber(4));
  CHECK(f.read_all() == "abcd");
}

TEST_CASE("a failed sync of a segment without anything durable replaces that segment") {
  OnFailingDisk f;
  f.append("a");
  f.disk.failing.syncs = 1;
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  f.append("b");
  CHECK(f.read_all() == "ab");
  REQUIRE(f.fixture.recover());
  CHECK(f.read_all() == "ab");
}

TEST_CASE("a reader that has the failed segment open goes on in the new one") {
  OnFailingDisk f;
  f.append("a");
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  const Appended b = f.append("b");
  Reader reader(f.fixture.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(1)));
  REQUIRE(*reader.next(UpdateNumber(1)));  // b lies in its buffer
  f.disk.failing.syncs = 1;
  REQUIRE(f.journal.sync_through(UpdateNumber(2)));
  REQUIRE(f.journal.set_void(b.number, b.location));
  const auto frame = reader.next(UpdateNumber(2));
  REQUIRE(frame);
  REQUIRE(*frame);
  CHECK((*frame)->header.is_void());
}

TEST_CASE("a void word finds its update after it has moved") {
  OnFailingDisk f;
  f.append("a");
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  const Appended b = f.append("b");
  const Appended c = f.append("c");
  f.disk.failing.syncs = 1;
  REQUIRE(f.journal.sync_through(UpdateNumber(3)));
  REQUIRE(f.journal.set_void(c.number, c.location));
  CHECK(f.read_all() == "ab-");
  REQUIRE(f.journal.set_void(b.number, b.location));
  CHECK(f.read_all() == "a--");
}

TEST_CASE("a lost page that shows a refused update in the place of a new one is not believed") {
  OnFailingDisk f;
  f.append("a");
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  const std::uint64_t end = f.fixture.tail().offset;
  Appended refused;
  {
    PendingUpdate update(f.disk);
    update.body() += "x";
    f.disk.failing.writes = 1;
    auto lock = f.journal.lock();
    REQUIRE_FALSE(f.journal.append(*lock, update, {}, [&](const Appended& it) { refused = it; }));
  }
  REQUIRE(f.journal.set_void(refused.number, refused.location));
  const auto segment = *f.fixture.directory().open(segment_name(UpdateNumber(1)));
  std::string before(4096, '\0');
  REQUIRE(segment->read_at(end, before.data(), before.size()));
  f.append("y");
  f.disk.failing.on_failed_sync = [&] { REQUIRE(segment->write_at(end, before)); };
  f.disk.failing.syncs = 1;
  CHECK_FALSE(f.journal.sync_through(UpdateNumber(2)));
  CHECK(f.fixture.tail().synced.load() == 1);
}

TEST_CASE("an update that cannot be read is not taken for one that was never there") {
  OnFailingDisk f;
  f.append("a");
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  const Appended b = f.append("b");
  f.disk.failing.syncs = 1;
  REQUIRE(f.journal.sync_through(UpdateNumber(2)));
  f.disk.failing.reads_left = 1;  // the segment's header, not its frames
  CHECK_FALSE(f.journal.set_void(b.number, b.location));
  f.disk.failing.reads_left = -1;
  REQUIRE(f.journal.set_void(b.number, b.location));
  CHECK(f.read_all() == "a-");
}

TEST_CASE("a disk that fails the new segment too stops the journal until it is well again") {
  OnFailingDisk f;
  f.append("a");
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  f.append("b");
  f.disk.failing.syncs = 2;
  CHECK_FALSE(f.journal.sync_through(UpdateNumber(2)));
  CHECK(f.fixture.tail().synced.load() == 1);
  CHECK(f.fixture.tail().failed.load() == EIO);
  f.disk.failing.syncs = 1;
  {
    PendingUpdate update(f.disk);
    update.body() += "c";
    auto lock = f.journal.lock();
    CHECK_FALSE(f.journal.append(*lock, update, {}));
  }
  CHECK(f.fixture.made() == UpdateNumber(2));
  f.append("c");
  CHECK(f.fixture.tail().failed.load() == 0);
  REQUIRE(f.journal.sync_through(UpdateNumber(3)));
  CHECK(f.read_all() == "abc");
}

TEST_CASE("a process that dies between a failed sync and the new segment leaves the failure") {
  OnFailingDisk f;
  f.append("a");
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  f.append("b");
  f.disk.failing.syncs = 2;
  CHECK_FALSE(f.journal.sync_through(UpdateNumber(2)));
  std::thread([&] {
    auto lock = f.journal.lock();
    new os::SharedLock(std::move(*lock));
  }).join();
  // The next owner mends the tail; that the old segment can be synced now proves nothing.
  REQUIRE(f.journal.lock());
  CHECK(f.fixture.tail().synced.load() == 1);
  REQUIRE(f.journal.sync_through(UpdateNumber(2)));
  CHECK(f.fixture.tail().segment_first.load() == 2);
  CHECK(f.read_all() == "ab");
}

TEST_CASE("a void whose sync fails does not let other updates of the segment pass as durable") {
  OnFailingDisk f;
  const Appended a = f.append("a");
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  f.append("b");
  f.disk.failing.syncs = 1;
  CHECK_FALSE(f.journal.set_void(a.number, a.location));
  REQUIRE(f.journal.sync_through(UpdateNumber(2)));
  CHECK(f.fixture.tail().segment_first.load() == 2);
  REQUIRE(f.journal.set_void(a.number, a.location));
  CHECK(f.read_all() == "-b");
}

TEST_CASE("a failed sync at the end of a segment loses nothing") {
  OnFailingDisk f;
  f.append(std::string(600'000, 'x'));
  f.disk.failing.syncs = 1;
  f.append(std::string(600'000, 'y'));  // does not fit: the first is synced before
  REQUIRE(f.journal.sync_through(UpdateNumber(2)));
  CHECK(f.disk.failing.failed_syncs == 1);
  CHECK(f.read_all() == std::string(600'000, 'x') + std::string(600'000, 'y'));
}

TEST_CASE("an update that was arriving when the journal moved has to come again") {
  OnFailingDisk f;
  test::JournalFixture source;
  source.append("a");
  source.append(std::string(300'000, 'b'));
  Reader reader(source.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(1)));
  auto lock = f.journal.lock();
  REQUIRE(f.journal.append_received(*lock, **reader.next(UpdateNumber(2))));
  REQUIRE(f.journal.append_received(*lock, **reader.next(UpdateNumber(2))));
  lock->release();
  f.disk.failing.syncs = 1;
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  auto again = f.journal.lock();
  CHECK_FALSE(f.journal.append_received(*again, **reader.next(UpdateNumber(2))));
  f.journal.drop_partial();
  REQUIRE(reader.seek(UpdateNumber(2)));
  while (auto frame = *reader.next(UpdateNumber(2)))
    REQUIRE(f.journal.append_received(*again, *frame));
  CHECK(f.fixture.made() == UpdateNumber(2));
  CHECK(f.read_all() == "a" + std::string(300'000, 'b'));
}

TEST_CASE("a segment whose directory could not be synced is replaced before anything is appended") {
  OnFailingDisk f;
  f.append("a");
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  f.disk.failing.directory_syncs = 1;
  PendingUpdate large(f.disk);
  large.body() += std::string(2 << 20, 'x');
  {
    auto lock = f.journal.lock();
    CHECK_FALSE(f.journal.append(*lock, large, {}));
  }
  large.clear();
  f.append("b");  // would fit into the first segment
  REQUIRE(f.journal.sync_through(UpdateNumber(2)));
  CHECK(f.fixture.tail().segment_first.load() == 2);
  CHECK(f.read_all() == "ab");
  REQUIRE(f.fixture.recover());
  CHECK(f.read_all() == "ab");
}

TEST_CASE("a large update whose segment could not be named durably leaves nothing behind") {
  OnFailingDisk f;
  f.append("a");
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  PendingUpdate large(f.disk, /*spill_bytes=*/1024);
  large.body() += std::string(8192, 'x');
  REQUIRE(large.close_body());
  REQUIRE(large.spilled());
  f.disk.failing.directory_syncs = 1;
  Appended announced;
  {
    auto lock = f.journal.lock();
    CHECK_FALSE(f.journal.append(*lock, large, {}, [&](const Appended& a) { announced = a; }));
  }
  REQUIRE(f.journal.set_void(announced.number, announced.location));
  REQUIRE(f.fixture.recover());
  CHECK(f.fixture.made() == UpdateNumber(1));
}

TEST_CASE("an update whose write failed is voided, since all of it may be there") {
  OnFailingDisk f;
  f.append("a");
  f.disk.failing.writes = 1;
  PendingUpdate update(f.disk);
  update.body() += "b";
  Appended announced;
  {
    auto lock = f.journal.lock();
    CHECK_FALSE(f.journal.append(*lock, update, {}, [&](const Appended& a) { announced = a; }));
  }
  REQUIRE(announced.number == UpdateNumber(2));
  REQUIRE(f.journal.set_void(announced.number, announced.location));
  REQUIRE(f.fixture.recover());
  CHECK(f.read_all() == "a-");
}

TEST_CASE("what a failed append left behind is not taken for the update that follows it") {
  OnFailingDisk f;
  f.append("a");
  REQUIRE(f.journal.sync_through(UpdateNumber(1)));
  Reader reader(f.fixture.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(1)));
  REQUIRE(*reader.next(UpdateNumber(1)));
  f.disk.failing.writes = 1;
  PendingUpdate refused(f.disk);
  refused.body() += "b";
  {
    auto lock = f.journal.lock();
    CHECK_FALSE(f.journal.append(*lock, refused, {}));
  }
  f.append(std::string(1 << 20, 'c'));  // does not fit behind it
  REQUIRE(f.journal.sync_through(UpdateNumber(2)));
  const auto frame = reader.next(UpdateNumber(2));
  REQUIRE((frame && *frame));
  CHECK((*frame)->body.substr(0, 1) == "c");
}
