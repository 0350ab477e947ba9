// SPDX-License-Identifier: Apache-2.0
#include "master/frame_chunk.h"

#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/master/group_on_disk.h"

using namespace hotbackup;
using namespace hotbackup::master;

namespace {

journal::Reader reader_from(control::Group& group, std::uint64_t number) {
  journal::Reader reader(group.journal_directory(), group.id());
  REQUIRE(reader.seek(UpdateNumber(number)));
  return reader;
}

}  // namespace

TEST_CASE("a chunk holds many small updates, or one large frame, and nothing unpublished") {
  test::GroupOnDisk fixture;
  for (int i = 0; i < 100; ++i) fixture.append(100);
  fixture.append(500'000);
  auto reader = reader_from(fixture.group(), 1);
  auto chunk = read_chunk(reader, UpdateNumber(60), 1 << 20);
  REQUIRE(chunk);
  CHECK(chunk->through == UpdateNumber(60));
  CHECK(chunk->frames.size() == 60 * journal::frame_bytes(100));
  chunk = read_chunk(reader, UpdateNumber(60), 1 << 20);
  REQUIRE(chunk);
  CHECK(chunk->frames.empty());
  CHECK(chunk->through == UpdateNumber(60));
  chunk = read_chunk(reader, UpdateNumber(101), 1000);
  REQUIRE(chunk);
  CHECK(chunk->through < UpdateNumber(70));
  CHECK(chunk->at_boundary);
}

TEST_CASE("what lies before damage is read; then the damage is named, again and again") {
  test::GroupOnDisk fixture;
  for (int i = 0; i < 10; ++i) fixture.append(1000);
  const std::string segment =
      fixture.group().directory() + "/journal/" + journal::segment_name(UpdateNumber(1));
  const int fd = ::open(segment.c_str(), O_WRONLY);
  const auto offset = journal::kSegmentHeaderBytes + 6 * journal::frame_bytes(1000) + 200;
  REQUIRE(::pwrite(fd, "X", 1, static_cast<off_t>(offset)) == 1);
  ::close(fd);
  auto reader = reader_from(fixture.group(), 1);
  const auto chunk = read_chunk(reader, UpdateNumber(10), 1 << 20);
  REQUIRE(chunk);
  CHECK(chunk->through == UpdateNumber(6));
  for (int i = 0; i < 2; ++i) {
    const auto damaged = read_chunk(reader, UpdateNumber(10), 1 << 20);
    REQUIRE_FALSE(damaged);
    CHECK(damaged.error().code() == ErrorCode::kCorrupt);
    CHECK(damaged.error().text().find(journal::segment_name(UpdateNumber(1))) != std::string::npos);
  }
}
