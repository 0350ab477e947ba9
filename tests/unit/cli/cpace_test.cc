// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/cpace.h"

#include <doctest/doctest.h>
#include <sodium.h>

#include "common/base/bytes.h"

using namespace hotbackup;
using namespace hotbackup::cli;

namespace {

using Side = Cpace::Side;

std::string from_hex(std::string_view digits) {
  return unhex(digits).value();
}

// draft-irtf-cfrg-cpace-20, "Test vector for CPace using group ristretto255 and hash SHA-512".
const Cpace::Shared kShared = {"Password",
                               from_hex("6f630b425f726573706f6e6465720b415f696e69746961746f72"),
                               from_hex("7e4b4791d6a8ef019b936c79fb7f2c57")};
const std::string kScalarA =
    from_hex("da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08");
const std::string kScalarB =
    from_hex("d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d");
constexpr char kMessageA[] = "d40fb265a7abeaee7939d91a585fe59f7053f982c296ec413c624c669308f87a";
constexpr char kMessageB[] = "08bcf6e9777a9c313a3db6daa510f2d398403319c2341bd506a92e672eb7e307";
constexpr char kKey[] =
    "4c5469a16b2364c4b944ebc1a79e51d1674ad47db26e8718154f59faebfaa52d"
    "8346f30aa58377117eb20d527f2cbc5c76381f7fd372e89df8239f87f2e02ed1";

struct Exchange {
  Cpace first, second;
  bool first_proved = false, second_proved = false;
};

/// An honest exchange between two that share, or do not share, the same.
Exchange exchange(Cpace::Shared a, Cpace::Shared b) {
  Exchange done{Cpace::begin(Side::kInitiator, std::move(a)).value(),
                Cpace::begin(Side::kResponder, std::move(b)).value()};
  REQUIRE(done.first.receive(done.second.message(), "dials", "listens"));
  REQUIRE(done.second.receive(done.first.message(), "listens", "dials"));
  done.first_proved = done.second.proves(done.first.tag());
  done.second_proved = done.first.proves(done.second.tag());
  return done;
}

}  // namespace

TEST_CASE("the draft's test vector gives the draft's messages and key") {
  REQUIRE(sodium_init() >= 0);
  auto a = Cpace::begin_with(Side::kInitiator, kShared, kScalarA).value();
  auto b = Cpace::begin_with(Side::kResponder, kShared, kScalarB).value();
  CHECK(hex(a.message()) == kMessageA);
  CHECK(hex(b.message()) == kMessageB);
  REQUIRE(a.receive(b.message(), "ADa", "ADb"));
  REQUIRE(b.receive(a.message(), "ADb", "ADa"));
  CHECK(hex(a.key()) == kKey);
  CHECK(b.key() == a.key());
}

TEST_CASE("points that the draft calls invalid end the exchange") {
  auto a = Cpace::begin(Side::kInitiator, kShared).value();
  CHECK_FALSE(a.receive(
      from_hex("2b3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c"), "a", "b"));
  CHECK_FALSE(a.receive(std::string(32, '\0'), "a", "b"));
  CHECK_FALSE(a.receive(std::string(31, '\1'), "a", "b"));
  CHECK_FALSE(a.receive("", "a", "b"));
  CHECK_FALSE(a.receive(a.message(), "a", "b"));
  CHECK_FALSE(a.proves(a.tag()));
}

TEST_CASE("who knows the code proves it; another code, channel or session proves nothing") {
  const Exchange good = exchange({"123456789", "c", "s"}, {"123456789", "c", "s"});
  CHECK(good.first_proved);
  CHECK(good.second_proved);
  CHECK(good.first.key() == good.second.key());
  for (const Cpace::Shared& other :
       {Cpace::Shared{"123456788", "c", "s"}, Cpace::Shared{"123456789", "d", "s"},
        Cpace::Shared{"123456789", "c", "t"}}) {
    const Exchange bad = exchange({"123456789", "c", "s"}, other);
    CHECK_FALSE(bad.first_proved);
    CHECK_FALSE(bad.second_proved);
  }
}

TEST_CASE("a side's own proof sent back to it proves nothing") {
  const Exchange good = exchange({"123456789", "c", "s"}, {"123456789", "c", "s"});
  CHECK_FALSE(good.first.proves(good.first.tag()));
  CHECK_FALSE(good.second.proves(good.second.tag()));
}

TEST_CASE("codes are nine digits in threes, read however they are typed") {
  const std::string code = make_code();
  CHECK(code.size() == 11);
  CHECK(code_digits(code).size() == 9);
  CHECK(make_code() != code);
  CHECK(code_digits("123 456-789") == "123456789");
  for (const char* wrong : {"", "12345678", "1234567890", "12345678x", "١٢٣"})
    CHECK(code_digits(wrong).empty());
}
