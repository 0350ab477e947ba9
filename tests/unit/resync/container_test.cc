// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/container.h"

#include <doctest/doctest.h>

#include <cstring>

using namespace hotbackup;
using namespace hotbackup::resync;

namespace {

class Memory final : public Sink {
 public:
  Result<> write(std::string_view bytes) override {
    content += bytes;
    return {};
  }
  Result<> finish() override { return {}; }
  std::string content;
};

class FromMemory final : public Source {
 public:
  explicit FromMemory(std::string content) : content_(std::move(content)) {}
  Result<std::size_t> read(char* to, std::size_t size) override {
    const std::size_t part = std::min(size, content_.size() - at_);
    std::memcpy(to, content_.data() + at_, part);
    at_ += part;
    return part;
  }

 private:
  const std::string content_;
  std::size_t at_ = 0;
};

std::string piece(int n) {
  return std::string(100 + static_cast<std::size_t>(n) * 37, static_cast<char>('a' + n));
}

std::string written(int blocks) {
  Memory memory;
  auto writer = ContainerWriter::begin(memory, ContainerKind::kSave, Json{{"group", "dns"}});
  REQUIRE(writer);
  for (int n = 0; n < blocks; ++n) REQUIRE((*writer)->add(BlockKind::kFrames, piece(n)));
  REQUIRE((*writer)->end(Json{{"items", blocks}}));
  CHECK((*writer)->bytes() == memory.content.size());
  return memory.content;
}

/// Blocks that were given out before an error, or all.
Result<int> blocks_of(const std::string& content) {
  auto reader = ContainerReader::open(std::make_unique<FromMemory>(content), "it");
  if (!reader) return fail(reader.error());
  for (int n = 0;; ++n) {
    HOTBACKUP_ASSIGN(const auto block, (*reader)->next());
    if (!block) return n - 1;  // without the end
    if (block->kind == BlockKind::kFrames) CHECK(block->raw == piece(n));
  }
}

}  // namespace

TEST_CASE("what is written to a container is read from it") {
  for (const int blocks : {0, 1, 7}) CHECK(blocks_of(written(blocks)).value() == blocks);
}

TEST_CASE("a flipped bit anywhere in a container is found") {
  const std::string good = written(3);
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
    CAPTURE(at);
    CHECK_FALSE(blocks_of(bad));
  }
}

TEST_CASE("a container that was cut off, or has something behind it, is found") {
  const std::string good = written(2);
  for (std::size_t bytes = 0; bytes < good.size(); ++bytes) {
    CAPTURE(bytes);
    CHECK_FALSE(blocks_of(good.substr(0, bytes)));
  }
  CHECK_FALSE(blocks_of(good + "x"));
}

TEST_CASE("blocks that changed places are found although each of them is whole") {
  const std::string good = written(4);
  std::vector<std::size_t> starts;
  for (std::size_t at = good.find("HBK1"); at != std::string::npos; at = good.find("HBK1", at + 1))
    starts.push_back(at);
  REQUIRE(starts.size() == 5);
  const std::string first = good.substr(starts[0], starts[1] - starts[0]);
  CHECK_FALSE(blocks_of(good.substr(0, starts[1]) + first + good.substr(starts[1])));
  CHECK_FALSE(blocks_of(good.substr(0, starts[1]) + good.substr(starts[2])));
}

TEST_CASE("check names every damaged place and goes on behind it") {
  std::string bad = written(6);
  std::vector<std::size_t> starts;
  for (std::size_t at = bad.find("HBK1"); at != std::string::npos; at = bad.find("HBK1", at + 1))
    starts.push_back(at);
  bad[starts[1] + 70] ^= 1;  // content
  bad[starts[4] + 30] ^= 1;  // header
  auto reader = ContainerReader::open(std::make_unique<FromMemory>(bad), "it");
  REQUIRE(reader);
  int seen = 0;
  const auto damage = (*reader)->check([&](const Block&, bool) -> Result<> {
    ++seen;
    return {};
  });
  REQUIRE(damage);
  REQUIRE(damage->size() == 2);
  CHECK((*damage)[0].offset == starts[1]);
  CHECK((*damage)[1].offset == starts[4]);
  CHECK(seen == 5);  // four and the end
}
