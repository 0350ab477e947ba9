// SPDX-License-Identifier: Apache-2.0
#include "common/journal/frame.h"

#include <doctest/doctest.h>

#include "common/base/bytes.h"
#include "tests/support/journal_fixture.h"

using namespace hotbackup;
using namespace hotbackup::journal;

namespace {

std::string make_frame(FrameHeader header, std::string_view body) {
  std::string bytes(frame_bytes(body.size()), '\0');
  header.body_bytes = static_cast<std::uint32_t>(body.size());
  header.body_hash = hash64(body);
  if (header.update_bytes == 0) header.update_bytes = bytes.size();
  encode(header, bytes.data());
  std::copy(body.begin(), body.end(), bytes.begin() + kFrameHeaderBytes);
  return bytes;
}

FrameHeader sample() {
  FrameHeader header;
  header.group = test::test_group();
  header.epoch = {3, NodeId(0x1122334455667788)};
  header.number = UpdateNumber(42);
  header.environment = EnvironmentNumber(7);
  header.txnid = TxnId(99);
  header.commit_time = WallTime(std::chrono::nanoseconds(1'700'000'000'000'000'000));
  header.chain = {1, 2};
  return header;
}

}  // namespace

TEST_CASE("the bytes of a frame are those of format 1") {
  const std::string frame = make_frame(sample(), "body");
  CHECK(hex(frame) ==
        "484246310100010004000000000000000011223344556677"
        "8899aabbccddeeff03000000000000008877665544332211"
        "2a0000000000000088000000000000000700000001000000"
        "630000000000000000002a36fe9c9717fae17f18eec8f284"
        "01000000000000000200000000000000cd8ef59481c2ecd5"
        "0000000000000000626f647900000000");
}

TEST_CASE("a frame header reads back as it was written") {
  const std::string frame = make_frame(sample(), "body");
  const auto header = decode(frame);
  REQUIRE(header);
  CHECK(header->epoch == sample().epoch);
  CHECK(header->number == UpdateNumber(42));
  CHECK(header->environment == EnvironmentNumber(7));
  CHECK(header->txnid == TxnId(99));
  CHECK(header->commit_time == sample().commit_time);
  CHECK(header->last_part);
  CHECK_FALSE(header->is_void());
}

TEST_CASE("any changed byte of a header is noticed, the void word included") {
  const std::string good = make_frame(sample(), "body");
  for (std::size_t at = 0; at < kFrameHeaderBytes; ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    CHECK_FALSE(decode(bad));
  }
}

TEST_CASE("the void word of a frame changes neither its checksum nor the chain") {
  std::string frame = make_frame(sample(), "body");
  const ChainHash before = chain_after(frame);
  const auto header = decode(frame);
  store_le64(frame.data() + kVoidWordOffset, void_word_for(header->checksum));
  REQUIRE(decode(frame));
  CHECK(decode(frame)->is_void());
  CHECK(chain_after(frame) == before);
}

TEST_CASE("a sequence takes only the frame that follows") {
  FrameHeader header = sample();
  const std::string bytes = make_frame(header, "body");
  const auto view = [&](const std::string& b, std::string_view body) {
    return FrameView{*decode(b), body, b};
  };
  FrameSequence sequence(header.group, UpdateNumber(42), header.chain);
  CHECK(sequence.accept(view(bytes, "bodx")).error().code() == ErrorCode::kCorrupt);
  REQUIRE(sequence.accept(view(bytes, "body")));
  CHECK(sequence.accept(view(bytes, "body")).error().code() == ErrorCode::kGap);  // a repeat
  header.number = UpdateNumber(44);
  CHECK(sequence.accept(view(make_frame(header, "x"), "x")).error().code() == ErrorCode::kGap);
  header.number = UpdateNumber(43);
  CHECK(sequence.accept(view(make_frame(header, "x"), "x")).error().code() == ErrorCode::kDiverged);
  header.chain = sequence.chain();
  header.group = GroupId{};
  CHECK(sequence.accept(view(make_frame(header, "x"), "x")).error().code() == ErrorCode::kRefused);
}

TEST_CASE("an update whose parts do not add up is refused") {
  FrameHeader header = sample();
  header.update_bytes = frame_bytes(4) + 8;  // claims more than this last part
  const std::string bytes = make_frame(header, "body");
  FrameSequence sequence(header.group, UpdateNumber(42), header.chain);
  CHECK(sequence.accept({*decode(bytes), "body", bytes}).error().code() == ErrorCode::kCorrupt);
}
