// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "common/config/configuration.h"

namespace hotbackup::config {
namespace {

constexpr const char* kPieces[] = {"[",
                                   "]",
                                   "[[",
                                   "]]",
                                   "[[group]]\n",
                                   "[group.saves]\n",
                                   "[[group.env]]\n",
                                   "{",
                                   "}",
                                   "=",
                                   "\"",
                                   "'",
                                   "\"\"\"",
                                   "'''",
                                   "\\",
                                   "\\u0000",
                                   "\\uD800",
                                   "\n",
                                   "\r",
                                   "\t",
                                   "#",
                                   ".",
                                   ",",
                                   "*",
                                   "/",
                                   "off",
                                   "0",
                                   "-1",
                                   "1e999",
                                   "9223372036854775808",
                                   "0x",
                                   "1979-05-27T07:32:00Z",
                                   "25:61:61",
                                   "inf",
                                   "nan",
                                   "true",
                                   " updates",
                                   " s",
                                   "\xff",
                                   "\xc3",
                                   "\xe2\x80\xa6",
                                   "\xef\xbb\xbf",
                                   "a.b.c = 1\n",
                                   "acknowledge = 3\n",
                                   "loss_limit = \"0\"\n",
                                   "test_period = \"off\"\n"};

std::string mutate(std::string text, std::mt19937_64& random) {
  const auto below = [&](std::size_t limit) {
    return static_cast<std::size_t>(random() % std::max<std::size_t>(1, limit));
  };
  for (std::size_t changes = 1 + below(4); changes > 0; --changes) {
    const std::size_t at = below(text.size() + 1);
    switch (below(6)) {
      case 0:
        text.insert(at, kPieces[below(std::size(kPieces))]);
        break;
      case 1:
        text.erase(at, below(30));
        break;
      case 2:
        text.insert(at, 1, static_cast<char>(below(256)));
        break;
      case 3:
        if (at < text.size()) text[at] = static_cast<char>(below(256));
        break;
      case 4:
        text.insert(at, text.substr(below(text.size() + 1), below(200)));
        break;
      case 5:
        text.resize(at);
        break;
    }
  }
  return text;
}

}  // namespace

TEST_CASE("a damaged file gives a value or a configuration error in one line, never a crash") {
  std::ifstream file(HOTBACKUP_DOCS "/hotbackup.toml");
  std::ostringstream content;
  content << file.rdbuf();
  std::string full = describe(*parse(content.str(), "example"));
  REQUIRE(full.size() > 500);
  std::mt19937_64 random(20261121);
  int values = 0;
  int errors = 0;
  for (int round = 0; round < 6000; ++round) {
    const std::string text = mutate(round % 2 == 0 ? content.str() : full, random);
    const auto parsed = parse(text, "m.toml");
    if (parsed) {
      ++values;
      // Whatever was accepted is printed so that it is accepted again.
      CHECK(parse(describe(*parsed), "m.toml"));
      continue;
    }
    ++errors;
    const bool right = parsed.error().code() == ErrorCode::kConfig &&
                       parsed.error().text().starts_with("m.toml:") &&
                       parsed.error().text().find('\n') == std::string::npos;
    if (!right) {
      CAPTURE(round);
      CAPTURE(text);
      CHECK_MESSAGE(right, parsed.error().text());
    }
  }
  CHECK(values > 300);
  CHECK(errors > 300);
}

}  // namespace hotbackup::config
