// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <map>
#include <set>
#include <thread>

#include "common/journal/spills.h"
#include "tests/support/journal_fixture.h"

using namespace hotbackup;
using namespace hotbackup::journal;
using test::JournalFixture;

namespace {

/// Bodies of all updates, parts joined, as the reader gives them.
std::map<std::uint64_t, std::string> read_all(JournalFixture& fixture, UpdateNumber from,
                                              UpdateNumber through) {
  Reader reader(fixture.directory(), test::test_group());
  REQUIRE(reader.seek(from));
  std::map<std::uint64_t, std::string> bodies;
  for (;;) {
    auto frame = reader.next(through);
    REQUIRE(frame);
    if (!*frame) return bodies;
    bodies[(*frame)->header.number.value] += (*frame)->body;
  }
}

std::string pattern(std::size_t size, unsigned seed) {
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>((seed = seed * 1103515245 + 12345) >> 16);
  return bytes;
}

/// A segment whose first frame is blanked after the first read of it.
class BlankedMeanwhile final : public os::File {
 public:
  explicit BlankedMeanwhile(os::File& real) : real_(real) {}
  Result<std::size_t> read_at(std::uint64_t offset, char* to, std::size_t size) override {
    auto got = real_.read_at(offset, to, size);
    REQUIRE(real_.write_at(kSegmentHeaderBytes, std::string(kFrameHeaderBytes, '\0')));
    return got;
  }
  Result<> write_at(std::uint64_t, std::string_view) override { return {}; }
  Result<> sync_data() override { return {}; }
  Result<std::uint64_t> size() override { return real_.size(); }
  Result<> allocate(std::uint64_t, bool) override { return {}; }

 private:
  os::File& real_;
};

}  // namespace

TEST_CASE("a frame that is blanked between the reads of its header and its body is none") {
  JournalFixture fixture;
  fixture.append(std::string(50'000, 'x'));
  const auto real = *fixture.directory().open(segment_name(UpdateNumber(1)));
  const auto header = *read_segment_header(*real);
  BlankedMeanwhile file(*real);
  FrameSequence sequence(header.group, header.first, header.chain);
  SegmentScan scan(file, kSegmentHeaderBytes);
  CHECK_FALSE(scan.next(sequence, UpdateNumber(1)));
  CHECK(scan.at_blank());
  CHECK(sequence.at_boundary());
}

TEST_CASE("updates come back in order, across segments, whatever their size") {
  JournalFixture fixture(256 * 1024);
  std::map<std::uint64_t, std::string> expected;
  for (unsigned i = 1; i <= 60; ++i) {
    const std::string body = pattern(i * 1777 % 90'000, i);
    expected[fixture.append(body, 10'000).value] = body;
  }
  CHECK(fixture.made() == UpdateNumber(60));
  CHECK(read_all(fixture, UpdateNumber(1), UpdateNumber(60)) == expected);
  CHECK(read_all(fixture, UpdateNumber(60), UpdateNumber(60)).size() == 1);
  CHECK(list_segments(fixture.directory())->size() > 5);
}

TEST_CASE("an update without operations is a frame with an empty body") {
  JournalFixture fixture;
  fixture.append("");
  CHECK(read_all(fixture, UpdateNumber(1), UpdateNumber(1)).at(1).empty());
}

TEST_CASE("an update larger than a segment gets one of its own and leaves no spill file") {
  JournalFixture fixture(1 << 20);
  const std::string small = pattern(100, 1);
  const std::string large = pattern(9'000'000, 2);
  fixture.append(small);
  fixture.append(large, 200'000, 1 << 20);
  fixture.append(small);
  const auto bodies = read_all(fixture, UpdateNumber(1), UpdateNumber(3));
  CHECK(bodies.at(1) == small);
  CHECK(bodies.at(2) == large);
  CHECK(bodies.at(3) == small);
  const auto names = *fixture.directory().list();
  for (const std::string& name : names) CHECK(name.find("spill") == std::string::npos);
}

TEST_CASE("what a killed program has spilled is removed, what a living one has is not") {
  JournalFixture fixture;
  os::Directory& directory = fixture.directory();
  const std::string living = next_spill_name();
  for (const char* name : {living.c_str(), "spill-1073741823-0.tmp", "spill-x.tmp"})
    REQUIRE(directory.create(name));
  REQUIRE(remove_left_spills(directory));
  const auto names = *directory.list();
  const std::set<std::string> left(names.begin(), names.end());
  CHECK(left.contains(living));
  CHECK(left.contains("spill-x.tmp"));
  CHECK_FALSE(left.contains("spill-1073741823-0.tmp"));
}

TEST_CASE("a rewound update holds what was in it at the mark, spilled or not") {
  for (const std::size_t limit : {std::size_t{1} << 16, std::size_t{1} << 22}) {
    JournalFixture fixture;
    PendingUpdate update(fixture.directory(), limit);
    update.body() += "kept";
    const auto mark = update.mark();
    REQUIRE(mark);
    for (int i = 0; i < 10; ++i) {
      update.body().append(50'000, 'x');
      REQUIRE(update.close_body());
    }
    update.body() += "open";
    REQUIRE(update.rewind(*mark));
    update.body() += " and new";
    auto lock = fixture.journal().lock();
    REQUIRE(fixture.journal().append(*lock, update, {}));
    lock->release();
    CHECK(read_all(fixture, UpdateNumber(1), UpdateNumber(1)).at(1) == "kept and new");
  }
}

TEST_CASE("the reader stops at the limit it is given and goes on from there") {
  JournalFixture fixture;
  Reader reader(fixture.directory(), test::test_group());
  fixture.append("one");
  fixture.append("two");
  REQUIRE(reader.seek(UpdateNumber(1)));
  CHECK((*reader.next(UpdateNumber(1)))->body == "one");
  CHECK_FALSE(*reader.next(UpdateNumber(1)));
  CHECK((*reader.next(UpdateNumber(2)))->body == "two");
  CHECK_FALSE(*reader.next(UpdateNumber(9)));
  fixture.append("three");  // the read-ahead buffer holds zeros at this place
  CHECK((*reader.next(UpdateNumber(9)))->body == "three");
  CHECK(reader.position().number == UpdateNumber(3));
}

TEST_CASE("seek tells history that is gone from history that is not there yet") {
  JournalFixture fixture(64 * 1024);
  for (int i = 0; i < 10; ++i) fixture.append(std::string(30'000, 'a'));
  const auto segments = *list_segments(fixture.directory());
  REQUIRE(retire_segment(fixture.directory(), segments[0], 64 * 1024));
  Reader reader(fixture.directory(), test::test_group());
  CHECK(reader.seek(UpdateNumber(1)).error().code() == ErrorCode::kGap);
  CHECK(reader.seek(UpdateNumber(12)).error().code() == ErrorCode::kNotFound);
  CHECK(reader.seek(UpdateNumber(11)));
  CHECK(*oldest_update(fixture.directory()) == segments[1]);
}

TEST_CASE("stale frames of a recycled segment are never taken for new ones") {
  JournalFixture fixture(64 * 1024);
  for (int i = 0; i < 12; ++i) fixture.append(std::string(20'000, static_cast<char>('a' + i)));
  const auto segments = *list_segments(fixture.directory());
  for (const UpdateNumber first : segments) {
    if (first.value + 3 < fixture.made().value)
      REQUIRE(retire_segment(fixture.directory(), first, 64 * 1024));
  }
  for (int i = 0; i < 4; ++i) fixture.append(std::string(3'000, 'z'));
  Reader reader(fixture.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(13)));
  for (int i = 0; i < 4; ++i) REQUIRE(*reader.next(fixture.made()));
  CHECK_FALSE(*reader.next(fixture.made()));
  const auto stale = reader.next(UpdateNumber(99));  // beyond the tail: old bytes of the file
  CHECK_FALSE(stale);
  REQUIRE(fixture.recover());
  CHECK(fixture.made() == UpdateNumber(16));
}

TEST_CASE("a reader in a segment that is recycled underneath reports a gap") {
  JournalFixture fixture(64 * 1024);
  for (int i = 0; i < 8; ++i) fixture.append(std::string(20'000, 'a'));
  Reader reader(fixture.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(1)));
  REQUIRE(retire_segment(fixture.directory(), UpdateNumber(1), 64 * 1024));
  for (int i = 0; i < 4; ++i) fixture.append(std::string(20'000, 'b'));
  const auto frame = reader.next(UpdateNumber(99));
  REQUIRE_FALSE(frame);
  CHECK(frame.error().code() == ErrorCode::kGap);
}

TEST_CASE("a prepared spare is used for the next segment") {
  JournalFixture fixture(64 * 1024);
  REQUIRE(prepare_spare(fixture.directory(), 64 * 1024));
  REQUIRE(prepare_spare(fixture.directory(), 64 * 1024));
  CHECK(fixture.directory().list()->size() == 1);
  fixture.append("x");
  CHECK(*fixture.directory().list() == std::vector<std::string>{"0000000000000001.hbj"});
}

TEST_CASE("a reader that has read ahead still sees an update that was voided since") {
  JournalFixture fixture;
  fixture.append("first");
  PendingUpdate update(fixture.directory());
  update.body() += "second";
  Appended second;
  {
    auto lock = fixture.journal().lock();
    second = *fixture.journal().append(*lock, update, {});
  }
  Reader reader(fixture.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(1)));
  REQUIRE(*reader.next(UpdateNumber(1)));  // the second lies in the reader's buffer now
  REQUIRE(fixture.journal().set_void(second.number, second.location));
  const auto frame = reader.next(UpdateNumber(2));
  REQUIRE(frame);
  REQUIRE(*frame);
  CHECK((*frame)->header.is_void());
}

TEST_CASE("a voided update stays void and in its place") {
  JournalFixture fixture;
  fixture.append("one");
  PendingUpdate update(fixture.directory());
  update.body() += "two";
  auto lock = fixture.journal().lock();
  const auto appended = fixture.journal().append(*lock, update, {});
  lock->release();
  REQUIRE(fixture.journal().set_void(appended->number, appended->location));
  REQUIRE(fixture.journal().set_void(appended->number, appended->location));
  fixture.append("three");
  Reader reader(fixture.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(1)));
  CHECK_FALSE((*reader.next(UpdateNumber(3)))->header.is_void());
  CHECK((*reader.next(UpdateNumber(3)))->header.is_void());
  CHECK_FALSE((*reader.next(UpdateNumber(3)))->header.is_void());
}

TEST_CASE("threads that append and sync leave no gap, and nothing unsynced behind") {
  JournalFixture fixture(128 * 1024);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&fixture, t] {
      for (int i = 0; i < 100; ++i) {
        const UpdateNumber number = fixture.append(std::string(500, static_cast<char>('a' + t)));
        CHECK(fixture.journal().sync_through(number));
        CHECK(fixture.tail().synced.load() >= number.value);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(read_all(fixture, UpdateNumber(1), fixture.made()).size() == 400);
}

TEST_CASE("received frames make the same journal as the sender's") {
  JournalFixture master;
  JournalFixture slave;
  for (unsigned i = 1; i <= 20; ++i) master.append(pattern(i * 9000, i), 30'000);
  Reader reader(master.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(1)));
  while (auto frame = *reader.next(UpdateNumber(20))) {
    auto lock = slave.journal().lock();
    REQUIRE(slave.journal().append_received(*lock, *frame));
  }
  CHECK(slave.made() == UpdateNumber(20));
  CHECK(read_all(slave, UpdateNumber(1), UpdateNumber(20)) ==
        read_all(master, UpdateNumber(1), UpdateNumber(20)));
  CHECK(slave.tail().chain == master.tail().chain);
}

TEST_CASE("a received update that does not follow is refused, and nothing changes") {
  JournalFixture master;
  JournalFixture slave;
  master.append("one");
  master.append("two");
  Reader reader(master.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(1)));
  auto lock = slave.journal().lock();
  const FrameView one = **reader.next(UpdateNumber(2));
  REQUIRE(slave.journal().append_received(*lock, one));
  CHECK(slave.journal().append_received(*lock, one).error().code() == ErrorCode::kGap);
  REQUIRE(slave.journal().append_received(*lock, **reader.next(UpdateNumber(2))));
  CHECK(slave.tail().chain == master.tail().chain);
}

TEST_CASE("half an update that was received does not count, and is received again") {
  JournalFixture master;
  JournalFixture slave;
  master.append(pattern(90'000, 1), 30'000);
  Reader reader(master.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(1)));
  {
    auto lock = slave.journal().lock();
    REQUIRE(slave.journal().append_received(*lock, **reader.next(UpdateNumber(1))));
  }
  CHECK(slave.made() == UpdateNumber(0));
  REQUIRE(slave.recover());
  CHECK(slave.made() == UpdateNumber(0));
  REQUIRE(reader.seek(UpdateNumber(1)));
  while (auto frame = *reader.next(UpdateNumber(1))) {
    auto lock = slave.journal().lock();
    REQUIRE(slave.journal().append_received(*lock, *frame));
  }
  CHECK(read_all(slave, UpdateNumber(1), UpdateNumber(1)).at(1) == pattern(90'000, 1));
}

TEST_CASE("a journal restarted after a seed goes on from that position") {
  JournalFixture fixture;
  fixture.append("old");
  const Position at{{2, NodeId(5)}, UpdateNumber(1000), {7, 8}};
  {
    auto lock = fixture.journal().lock();
    REQUIRE(fixture.journal().restart_after(*lock, at));
  }
  REQUIRE(fixture.recover());
  CHECK(fixture.made() == UpdateNumber(1000));
  CHECK(*position_at(fixture.directory(), test::test_group(), UpdateNumber(1000)) == at);
  CHECK(fixture.append("new") == UpdateNumber(1001));
}
