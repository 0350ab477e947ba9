// SPDX-License-Identifier: Apache-2.0
#include "common/config/data_path.h"

#include <doctest/doctest.h>

namespace hotbackup::config {
namespace {

DataPath path(std::string_view text) {
  auto parsed = parse_data_path(text);
  REQUIRE(parsed);
  return *parsed;
}

bool clash(std::string_view a, std::string_view b, bool same_group) {
  const bool there = conflict(path(a), path(b), same_group).has_value();
  CHECK(there == conflict(path(b), path(a), same_group).has_value());
  return there;
}

}  // namespace

TEST_CASE("a data path is absolute and made normal") {
  CHECK(path("/srv//data/").text == "/srv/data");
  CHECK(path("/srv/./data").text == "/srv/data");
  CHECK_FALSE(path("/srv/data").is_pattern);
  for (const char* text : {"", "data", "./data", "/", "//", "/srv/../etc", "~/data", "/a\nb"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_data_path(text));
  }
  CHECK_FALSE(parse_data_path("/" + std::string(5000, 'a')));
}

TEST_CASE("a pattern has exactly one star, in its last part") {
  const DataPath pattern = path("/var/lib/powerdns/pdns.lmdb*.x");
  CHECK(pattern.is_pattern);
  CHECK(pattern.directory == "/var/lib/powerdns");
  CHECK(pattern.prefix == "pdns.lmdb");
  CHECK(pattern.suffix == ".x");
  CHECK(path("/*").directory == "/");
  for (const char* text : {"/a/*/b", "/a/**", "/a/b*c*", "/a*/b*"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_data_path(text));
  }
}

TEST_CASE("one path serves one environment, whatever its group") {
  CHECK(clash("/srv/a", "/srv/a/", true));
  CHECK(clash("/srv/a", "/srv/a", false));
  CHECK(clash("/srv/a*", "/srv/a*", true));
  CHECK_FALSE(clash("/srv/a", "/srv/b", false));
}

TEST_CASE("a pattern excludes what it matches, and patterns that can match the same file") {
  CHECK(clash("/srv/pdns*", "/srv/pdns.lmdb", true));
  CHECK(clash("/srv/a*b", "/srv/ab", true));
  CHECK_FALSE(clash("/srv/ab*bc", "/srv/abc", true));
  CHECK_FALSE(clash("/srv/pdns*", "/srv/other", true));
  CHECK_FALSE(clash("/srv/pdns*", "/srv/x/pdns.lmdb", true));
  CHECK(clash("/srv/a*", "/srv/*b", true));
  CHECK(clash("/srv/a*", "/srv/ab*", true));
  CHECK_FALSE(clash("/srv/a*", "/srv/b*", true));
  CHECK_FALSE(clash("/srv/*.a", "/srv/*.b", true));
}

TEST_CASE("a directory with a pattern's files belongs to one group") {
  CHECK(clash("/srv/a*", "/srv/b*", false));
  CHECK(clash("/srv/a*", "/srv", false));
  CHECK_FALSE(clash("/srv/a*", "/srv", true));
  CHECK_FALSE(clash("/srv/a*", "/srv/b", false));
  CHECK_FALSE(clash("/srv/a*", "/srv2/a*", false));
}

}  // namespace hotbackup::config
