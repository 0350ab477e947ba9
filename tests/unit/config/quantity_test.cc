// SPDX-License-Identifier: Apache-2.0
#include "common/config/quantity.h"

#include <doctest/doctest.h>

#include <limits>

namespace hotbackup::config {
namespace {

using std::chrono::milliseconds;

template <class T>
bool is_refused(const Result<T>& result) {
  return !result && result.error().code() == ErrorCode::kConfig && !result.error().text().empty();
}

}  // namespace

TEST_CASE("durations are read in every unit and printed so that they read back") {
  const struct {
    const char* text;
    std::int64_t milliseconds_;
    const char* printed;
  } cases[] = {
      {"500 ms", 500, "500 ms"},     {"10 s", 10'000, "10 s"},
      {"15 min", 900'000, "15 min"}, {"3 h", 10'800'000, "3 h"},
      {"24 h", 86'400'000, "24 h"},  {"30d", 2'592'000'000, "30 d"},
      {"1 day", 86'400'000, "24 h"}, {"14 days", 1'209'600'000, "14 d"},
      {"0.5 s", 500, "500 ms"},      {"1.5 h", 5'400'000, "90 min"},
      {"10s", 10'000, "10 s"},       {"36525 d", 3'155'760'000'000, "36525 d"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.text);
    const auto duration = parse_duration(c.text);
    REQUIRE(duration);
    CHECK(duration->count() == c.milliseconds_);
    CHECK(to_text(*duration) == c.printed);
    CHECK(parse_duration(to_text(*duration)) == *duration);
  }
}

TEST_CASE("durations that are nothing, too long, or not durations are refused") {
  for (const char* text :
       {"",      "0 s",   "0",      "10",         "s",       " 10 s",
        "-1 s",  "+1 s",  "10 s ",  "10 seconds", "10 S",    "1e3 s",
        "inf s", "nan s", "0x10 s", "0.1 ms",     "36526 d", "99999999999999999999999999 h",
        "1,5 s", "10 MB", "10 s s"}) {
    CAPTURE(text);
    CHECK(is_refused(parse_duration(text)));
  }
}

TEST_CASE("sizes are decimal or binary as their unit says") {
  CHECK(parse_size("1 B") == 1u);
  CHECK(parse_size("1 kB") == 1000u);
  CHECK(parse_size("1KB") == 1000u);
  CHECK(parse_size("1 KiB") == 1024u);
  CHECK(parse_size("50 GB") == 50'000'000'000u);
  CHECK(parse_size("2 TiB") == std::uint64_t{2} << 40);
  CHECK(parse_size("0.5 MB") == 500'000u);
  CHECK(parse_binary_size("32 MB") == 32u << 20);
  CHECK(parse_binary_size("1 GB") == 1u << 30);
  CHECK(parse_rate("50 MB/s") == 50'000'000u);
  for (const char* text : {"", "0 MB", "12", "1 mb", "1 Mb", "-1 MB", "1048577 TiB", "1 s"}) {
    CAPTURE(text);
    CHECK(is_refused(parse_size(text)));
  }
  CHECK(is_refused(parse_rate("50 MB")));
  CHECK(is_refused(parse_rate("/s")));
}

TEST_CASE("sizes are printed exactly") {
  for (std::uint64_t bytes : {1ull, 999ull, 1000ull, 1023ull, 1024ull, 1ull << 20, 1'000'000ull,
                              50'000'000'000ull, (1ull << 40) + 1, 1ull << 60, 1234567ull}) {
    CAPTURE(bytes);
    CHECK(parse_size(size_to_text(bytes)) == bytes);
  }
  CHECK(size_to_text(32 << 20) == "32 MiB");
  CHECK(size_to_text(50'000'000'000) == "50 GB");
}

TEST_CASE("a loss limit is a count, a size or a duration") {
  using Kind = LossLimit::Kind;
  CHECK(parse_loss_limit("0") == LossLimit{});
  CHECK(parse_loss_limit("200 updates") == LossLimit{.kind = Kind::kUpdates, .updates = 200});
  CHECK(parse_loss_limit("1 update") == LossLimit{.kind = Kind::kUpdates, .updates = 1});
  CHECK(parse_loss_limit("1 MB") == LossLimit{.kind = Kind::kBytes, .bytes = 1'000'000});
  CHECK(parse_loss_limit("500 ms") == LossLimit{.kind = Kind::kTime, .time = milliseconds(500)});
  for (const char* text : {"0", "200 updates", "1 MB", "500 ms"}) {
    CHECK(to_text(*parse_loss_limit(text)) == text);
  }
  for (const char* text : {"", "off", "200", "0 updates", "0 s", "many"}) {
    CHECK(is_refused(parse_loss_limit(text)));
  }
}

TEST_CASE("addresses carry a port or get the default one") {
  CHECK(parse_address("lyon.example.com:2001", 2000) == Address{"lyon.example.com", 2001});
  CHECK(parse_address("lyon", 2000) == Address{"lyon", 2000});
  CHECK(parse_address("127.0.0.1:65535", 2000) == Address{"127.0.0.1", 65535});
  CHECK(parse_address("[::1]", 2000) == Address{"::1", 2000});
  CHECK(parse_address("[fe80::1]:25", 2000) == Address{"fe80::1", 25});
  CHECK(to_text(Address{"fe80::1", 25}) == "[fe80::1]:25");
  CHECK(to_text(Address{"lyon", 2000}) == "lyon:2000");
  for (const char* text :
       {"", ":2000", "lyon:", "lyon:0", "lyon:65536", "lyon:20x", "lyon: 20", "::1", "[::1",
        "[lyon]:1", "[::1]2000", "[::1]:", "ly on:2000", "-lyon:1", "http://lyon:1", "*:2000"}) {
    CAPTURE(text);
    CHECK(is_refused(parse_address(text, 2000)));
  }
}

TEST_CASE("loopback is 127.0.0.0/8, ::1 and localhost, nothing that only looks like it") {
  for (const char* host : {"127.0.0.1", "127.8.9.10", "::1", "localhost"}) {
    CHECK(is_loopback({host, 1}));
  }
  for (const char* host : {"128.0.0.1", "0.0.0.0", "::", "127.0.0.1.example.com",
                           "localhost.example", "127.1", "fe80::1", ""}) {
    CAPTURE(host);
    CHECK_FALSE(is_loopback({host, 1}));
  }
}

TEST_CASE("modes are octal, of permission bits, and leave the owner able to work") {
  CHECK(parse_mode("0660") == 0660u);
  CHECK(parse_mode("600") == 0600u);
  CHECK(mode_to_text(0660) == "0660");
  CHECK(mode_to_text(0777) == "0777");
  for (const char* text : {"", "0888", "01777", "0440", "0060", "rw", "-660", "0x1b0", "660 "}) {
    CAPTURE(text);
    CHECK(is_refused(parse_mode(text)));
  }
}

TEST_CASE("names are letters, digits and '-'") {
  for (const char* text : {"a", "dns", "Zones-2", "9"})
    CHECK(parse_name(text) == std::string(text));
  CHECK(parse_name(std::string(64, 'a')));
  CHECK(is_refused(parse_name(std::string(65, 'a'))));
  for (const char* text : {"", "-a", "a_b", "a b", "a/b", "..", "é", "a\n"}) {
    CAPTURE(text);
    CHECK(is_refused(parse_name(text)));
  }
}

TEST_CASE("text in a message stays on one line and is cut between characters") {
  CHECK(in_quotes("a\nb\x7f") == "'a?b?'");
  const std::string cut = in_quotes(std::string(79, 'a') + "éé");
  CHECK(cut == "'" + std::string(79, 'a') + "…'");
  CHECK(in_quotes(std::string(80, 'a')) == "'" + std::string(80, 'a') + "'");
}

TEST_CASE("a misspelt word finds the nearest one, a strange one finds none") {
  const std::vector<std::string> known = {"peers", "path", "check_period"};
  CHECK(nearest_word("peer", known) == std::string("peers"));
  CHECK(nearest_word("chekc_period", known) == std::string("check_period"));
  CHECK_FALSE(nearest_word("colour", known));
  CHECK_FALSE(nearest_word("", known));
  CHECK_FALSE(nearest_word(std::string(100'000, 'a'), known));
}

}  // namespace hotbackup::config
