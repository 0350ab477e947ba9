// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "tests/support/journal_fixture.h"
#include "tests/support/sim_disk.h"

using namespace hotbackup;
using namespace hotbackup::journal;
using test::JournalFixture;

namespace {

std::string last_segment(JournalFixture& fixture) {
  return fixture.path() + "/" + segment_name(list_segments(fixture.directory())->back());
}

void overwrite(const std::string& path, std::uint64_t offset, std::string_view bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY);
  REQUIRE(::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
          static_cast<ssize_t>(bytes.size()));
  ::close(fd);
}

void flip(const std::string& path, std::uint64_t offset) {
  const int fd = ::open(path.c_str(), O_RDWR);
  char byte = 0;
  REQUIRE(::pread(fd, &byte, 1, static_cast<off_t>(offset)) == 1);
  byte = static_cast<char>(byte ^ 0x20);
  REQUIRE(::pwrite(fd, &byte, 1, static_cast<off_t>(offset)) == 1);
  ::close(fd);
}

}  // namespace

TEST_CASE("an empty journal is at number 0") {
  JournalFixture fixture;
  CHECK(fixture.made() == UpdateNumber(0));
  CHECK(fixture.append("first") == UpdateNumber(1));
}

TEST_CASE("a torn tail is cut at the last whole update wherever it was torn") {
  for (std::uint64_t kept = 0; kept < 1200; kept += 96) {
    JournalFixture fixture;
    fixture.append("one");
    const std::uint64_t end = fixture.tail().offset;
    fixture.append(std::string(1000, 'x'), 300);
    const std::uint64_t torn = fixture.tail().offset;
    REQUIRE(end + kept < torn);
    overwrite(last_segment(fixture), end + kept, std::string(torn - end - kept, '\0'));
    REQUIRE(fixture.recover());
    CHECK(fixture.made() == UpdateNumber(1));
    CHECK(fixture.tail().offset == end);
    CHECK(fixture.append("two") == UpdateNumber(2));
    REQUIRE(fixture.recover());
    CHECK(fixture.made() == UpdateNumber(2));
  }
}

TEST_CASE("damage before the tail is an error that names the place, and nothing is changed") {
  JournalFixture fixture;
  for (int i = 0; i < 5; ++i) fixture.append(std::string(500, 'x'));
  const std::string path = last_segment(fixture);
  for (const std::uint64_t at : {kSegmentHeaderBytes + 50, kSegmentHeaderBytes + 300}) {
    flip(path, at);
    const auto recovered = fixture.recover();
    REQUIRE_FALSE(recovered);
    CHECK(recovered.error().code() == ErrorCode::kCorrupt);
    CHECK(recovered.error().text().find("0000000000000001.hbj") != std::string::npos);
    flip(path, at);
    REQUIRE(fixture.recover());
    CHECK(fixture.made() == UpdateNumber(5));
  }
}

TEST_CASE("a reader stops at the first damaged byte and names segment and offset") {
  JournalFixture fixture;
  for (int i = 0; i < 5; ++i) fixture.append(std::string(500, 'x'));
  const std::uint64_t second = kSegmentHeaderBytes + frame_bytes(500);
  flip(last_segment(fixture), second + 200);
  Reader reader(fixture.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(1)));
  REQUIRE(*reader.next(UpdateNumber(5)));
  const auto frame = reader.next(UpdateNumber(5));
  REQUIRE_FALSE(frame);
  CHECK(frame.error().code() == ErrorCode::kCorrupt);
  CHECK(frame.error().text().find("at byte " + std::to_string(second)) != std::string::npos);
}

TEST_CASE("a damaged or foreign segment header is an error") {
  JournalFixture fixture;
  fixture.append("one");
  flip(last_segment(fixture), 30);
  CHECK(fixture.recover().error().code() == ErrorCode::kCorrupt);
}

TEST_CASE("what a dead process wrote behind the tail is zeroed by the next owner of the lock") {
  JournalFixture fixture;
  fixture.append("one");
  const std::uint64_t end = fixture.tail().offset;
  overwrite(last_segment(fixture), end, std::string(300, 'g'));
  // A thread that ends with the lock held stands for a killed process.
  std::thread([&] {
    auto lock = fixture.journal().lock();
    new os::SharedLock(std::move(*lock));
  }).join();
  auto lock = fixture.journal().lock();
  REQUIRE(lock);
  CHECK(lock->owner_died());
  lock->release();
  std::string bytes(300, 'x');
  auto file = fixture.directory().open(segment_name(UpdateNumber(1)));
  REQUIRE((*file)->read_at(end, bytes.data(), bytes.size()));
  CHECK(bytes == std::string(300, '\0'));
  CHECK(fixture.append("two") == UpdateNumber(2));
}

TEST_CASE("an update that lies whole behind the tail of a dead process counts as made") {
  JournalFixture fixture;
  fixture.append("one");
  const std::uint64_t offset = fixture.tail().offset;
  const ChainHash chain = fixture.tail().chain;
  fixture.append("two");
  const std::uint64_t end = fixture.tail().offset;
  // As of a death at the worst moment: everything is written, the tail has moved in part.
  fixture.tail().made.store(1);
  fixture.tail().synced.store(1);
  for (const bool moved : {false, true}) {
    fixture.tail().offset = moved ? end : offset;
    fixture.tail().chain = chain;
    std::thread([&] {
      auto lock = fixture.journal().lock();
      new os::SharedLock(std::move(*lock));
    }).join();
    auto lock = fixture.journal().lock();
    REQUIRE(lock);
    CHECK(fixture.made() == UpdateNumber(2));
    CHECK(fixture.tail().offset == end);
    lock->release();
    fixture.tail().made.store(1);
  }
  fixture.tail().made.store(2);
  CHECK(fixture.append("three") == UpdateNumber(3));
  Reader reader(fixture.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(1)));
  for (int i = 0; i < 3; ++i) CHECK(reader.next(UpdateNumber(3)));
}

TEST_CASE("voiding an update that was never written leaves alone what lies in its place") {
  JournalFixture fixture;
  fixture.append("one");
  FrameLocation never{UpdateNumber(1), fixture.tail().offset, 0x1234567890abcdef};
  REQUIRE(fixture.journal().set_void(UpdateNumber(2), never));
  fixture.append("two");
  REQUIRE(fixture.journal().set_void(UpdateNumber(2), never));
  never.segment_first = UpdateNumber(99);
  REQUIRE(fixture.journal().set_void(UpdateNumber(99), never));
  Reader reader(fixture.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(2)));
  const auto frame = reader.next(UpdateNumber(2));
  REQUIRE(frame);
  CHECK_FALSE((*frame)->header.is_void());
}

TEST_CASE("a full disk is an error that changes nothing") {
  JournalFixture fixture;
  fixture.append("one");
  struct FullDirectory final : os::Directory {
    explicit FullDirectory(os::Directory& real) : real_(real) {}
    Result<std::unique_ptr<os::File>> open(const std::string& n, bool w) override {
      return real_.open(n, w);
    }
    Result<std::unique_ptr<os::File>> create(const std::string&) override {
      return fail_errno("creating", ENOSPC);
    }
    Result<> rename(const std::string& a, const std::string& b) override {
      return real_.rename(a, b);
    }
    Result<> remove(const std::string& n) override { return real_.remove(n); }
    Result<std::vector<std::string>> list() override { return real_.list(); }
    Result<> sync() override { return real_.sync(); }
    os::Directory& real_;
  } full(fixture.directory());
  Journal journal(full, fixture.tail(), test::test_group(), 1 << 20);
  auto lock = journal.lock();
  for (int i = 0; i < 20; ++i) {
    PendingUpdate update(full);
    update.body().append(100'000, 'x');
    const UpdateNumber before = fixture.made();
    const auto appended = journal.append(*lock, update, {});
    if (appended) continue;
    CHECK(appended.error().code() == ErrorCode::kNoSpace);
    CHECK(fixture.made() == before);
    return;
  }
  FAIL("the disk never became full");
}

TEST_CASE("after a reboot the tail is cut at the first of several updates that were not synced") {
  JournalFixture fixture;
  fixture.append("one");
  REQUIRE(fixture.journal().sync_through(UpdateNumber(1)));
  const std::uint64_t torn = fixture.tail().offset;
  fixture.append("two");
  fixture.append("three");
  overwrite(last_segment(fixture), torn + 20, "torn");
  CHECK(recover_tail(fixture.directory(), test::test_group()).error().code() ==
        ErrorCode::kCorrupt);
  const auto tail = recover_tail(fixture.directory(), test::test_group(), NodeId(0));
  REQUIRE(tail);
  CHECK(tail->made == UpdateNumber(1));
  CHECK(tail->torn);
  // Nothing of the cut updates is left to be taken for new ones.
  REQUIRE(fixture.recover());
  fixture.append("TWO");
  REQUIRE(fixture.recover());
  CHECK(fixture.made() == UpdateNumber(2));
}

TEST_CASE("after a reboot a bad update that a later one shows to have been durable is damage") {
  JournalFixture fixture;
  fixture.append("one");
  const std::uint64_t bad = fixture.tail().offset;
  fixture.append("two");
  REQUIRE(fixture.journal().sync_through(UpdateNumber(2)));
  fixture.append("three");
  overwrite(last_segment(fixture), bad + 20, "flip");
  const auto tail = recover_tail(fixture.directory(), test::test_group(), NodeId(0));
  REQUIRE_FALSE(tail);
  CHECK(tail.error().code() == ErrorCode::kCorrupt);
}

TEST_CASE("a slave's torn tail may hold whole later updates within what its master sends ahead") {
  JournalFixture fixture;
  fixture.append("one");
  const std::uint64_t torn = fixture.tail().offset;
  fixture.append("two");
  REQUIRE(fixture.journal().sync_through(UpdateNumber(2)));  // on the master, that is
  fixture.append("three");
  overwrite(last_segment(fixture), torn + 20, "torn");
  const auto tail = recover_tail(fixture.directory(), test::test_group(), NodeId(77));
  REQUIRE(tail);
  CHECK(tail->made == UpdateNumber(1));
}

TEST_CASE("a recycled segment does not come back under its old name with another header") {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    test::SimDisk disk(seed);
    auto directory = disk.directory("journal");
    for (const unsigned first : {1, 9, 17, 25}) {
      SegmentHeader header;
      header.group = test::test_group();
      header.first = UpdateNumber(first);
      header.segment_bytes = 16'384;
      REQUIRE(make_segment(*directory, header));
      if (first > 1) REQUIRE(retire_segment(*directory, UpdateNumber(first - 8), 16'384));
    }
    disk.lose_power();
    directory = disk.directory("journal");
    const auto segments = *list_segments(*directory);
    for (const UpdateNumber first : segments) {
      auto file = directory->open(segment_name(first));
      REQUIRE(file);
      CHECK(read_segment_header(**file)->first == first);
    }
  }
}
