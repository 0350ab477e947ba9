// SPDX-License-Identifier: Apache-2.0
#include "common/update/keep_local.h"

#include <doctest/doctest.h>

#include "common/update/codec.h"

using namespace hotbackup;
using namespace hotbackup::update;

namespace {

KeepLocalRules rules(const std::vector<std::string>& texts) {
  auto parsed = KeepLocalRules::parse(texts);
  if (!parsed) FAIL(parsed.error().text());
  return std::move(*parsed);
}

std::string error_of(std::string_view text) {
  const auto parsed = KeepLocalRule::parse(text);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().code() == ErrorCode::kConfig);
  return parsed.error().text();
}

std::string spelled(std::string_view text) {
  const auto parsed = KeepLocalRule::parse(text);
  if (!parsed) FAIL(parsed.error().text());
  const std::string out = parsed->text();
  CHECK(*KeepLocalRule::parse(out) == *parsed);
  return out;
}

Database main_database() {
  return {true, {}, 0};
}
Database named(std::string_view name) {
  return {false, name, 0};
}

}  // namespace

TEST_CASE("a rule keeps a database, a key, a prefix, or bytes of either") {
  const auto r = rules({"licence", "settings:host.*", "settings:name", "numbers:0x2a00000000000000",
                        "bytes:0x00ff*", "all:*", ":main*"});
  CHECK(r.keeps_database(named("licence")));
  CHECK_FALSE(r.keeps_database(named("settings")));
  CHECK_FALSE(r.keeps_database(named("all")));
  CHECK(r.keeps(named("licence"), "anything"));
  CHECK(r.keeps(named("settings"), "host."));
  CHECK(r.keeps(named("settings"), "host.name"));
  CHECK_FALSE(r.keeps(named("settings"), "host"));
  CHECK(r.keeps(named("settings"), "name"));
  CHECK_FALSE(r.keeps(named("settings"), "name2"));
  CHECK_FALSE(r.keeps(named("other"), "name"));
  CHECK(r.keeps(named("numbers"), std::string("\x2a\0\0\0\0\0\0\0", 8)));
  CHECK_FALSE(r.keeps(named("numbers"), std::string("\x2b\0\0\0\0\0\0\0", 8)));
  CHECK(r.keeps(named("bytes"), std::string("\0\xff", 2)));
  CHECK(r.keeps(named("bytes"), std::string("\0\xff\x01", 3)));
  CHECK_FALSE(r.keeps(named("bytes"), std::string("\0", 1)));
  CHECK(r.keeps(named("all"), "x"));
  CHECK(r.keeps(main_database(), "main.x"));
  CHECK_FALSE(r.keeps(named("main"), "main.x"));
  CHECK_FALSE(r.keeps(main_database(), "x"));
}

TEST_CASE("a main item with the name of a kept database is kept, with that of another is not") {
  const auto r = rules({"licence", "settings:host.*"});
  CHECK(r.keeps(main_database(), "licence"));
  CHECK_FALSE(r.keeps(main_database(), "settings"));
}

TEST_CASE("emptying reaches databases with kept keys, and main whatever the rule") {
  const auto r = rules({"licence", "settings:host.*"});
  CHECK(r.reached_by_emptying(named("settings")));
  CHECK(r.reached_by_emptying(named("licence")));
  CHECK_FALSE(r.reached_by_emptying(named("zones")));
  CHECK(r.reached_by_emptying(main_database()));
  CHECK_FALSE(rules({}).reached_by_emptying(main_database()));
}

TEST_CASE("what is wrong with a rule is said exactly") {
  CHECK(error_of("") == "keep-local rule \"\": it names no database");
  CHECK(error_of("settings:") ==
        "keep-local rule \"settings:\": no key after ':'; every key is \"settings:*\"");
  CHECK(error_of(":").find("no key after ':'") != std::string::npos);
  CHECK(error_of("settings:0x1").find("pairs of hexadecimal digits") != std::string::npos);
  CHECK(error_of("settings:0x").find("pairs of hexadecimal digits") != std::string::npos);
  CHECK(error_of("settings:0xzz*").find("a key in bytes") != std::string::npos);
  CHECK(error_of("settings:a*b") ==
        "keep-local rule \"settings:a*b\": '*' stands only at the end of a key; where it is a "
        "letter, write a key in bytes: 0x612a62");
  CHECK(error_of("host*").find("'*' stands only") != std::string::npos);
  CHECK(error_of("0x6100").find("zero byte") != std::string::npos);
  CHECK(error_of("d:" + std::string(512, 'x')).find("511") != std::string::npos);
}

TEST_CASE("one meaning has one text, and it is read back") {
  CHECK(spelled("licence") == "licence");
  CHECK(spelled("settings:0x686f7374*") == "settings:host*");
  CHECK(spelled("0x613a62:k") == "0x613a62:k");
  CHECK(spelled("d:0xFF00") == "d:0xff00");
  CHECK(spelled("d:*") == "d:*");
  CHECK(spelled(":*") == ":*");
  CHECK(spelled("d:0x2a") == "d:0x2a");
  CHECK(spelled("d:0x3078") == "d:0x3078");
  CHECK(spelled("d:a:b") == "d:a:b");
  CHECK(spelled("\xc3\xa9") == "0xc3a9");
  CHECK(rules({"b", "a:x", "a:0x78"}).texts() == std::vector<std::string>{"a:x", "b"});
}

TEST_CASE("wider rules cover narrower ones") {
  const auto old = rules({"licence:a", "settings:host.*", ":x"});
  CHECK(rules({"licence", "settings:ho*", ":x", "more"}).first_not_covered(old) == nullptr);
  CHECK(rules({"licence", "settings:ho*"}).first_not_covered(old)->text() == ":x");
  CHECK(rules({"licence", "settings:host.x", ":x"}).first_not_covered(old)->text() ==
        "settings:host.*");
  CHECK(rules({"licence:a*", "settings", ":x*"}).first_not_covered(old) == nullptr);
  CHECK(rules({"a:*"}).first_not_covered(rules({"a"})) != nullptr);  // the database itself
}

TEST_CASE("rules travel in a frame body, and one that is none is damage") {
  const std::vector<EnvironmentRules> all = {{"settings", rules({"licence", ":0x00ff*"})},
                                             {"zones", rules({"a:b"})}};
  CHECK(*read_rules(write_rules(all)) == all);
  CHECK(read_rules("")->empty());
  std::string bytes = write_rules(all);
  bytes[bytes.find("a:b") + 2] = '*';
  CHECK(read_rules(bytes));  // "a:*" is a rule too
  bytes[bytes.find("a:*")] = '*';
  CHECK(read_rules(bytes).error().code() == ErrorCode::kCorrupt);
}

TEST_CASE("a difference names the environment and what both nodes keep") {
  const std::vector<EnvironmentRules> a = {{"e", rules({"licence"})}};
  const std::vector<EnvironmentRules> b = {{"e", rules({"licence", "s:x*"})}};
  CHECK(explain_difference(a, "paris", a, "lyon").empty());
  CHECK(explain_difference(a, "paris", {{"e", rules({"licence"})}, {"f", {}}}, "lyon").empty());
  CHECK(explain_difference(a, "paris", b, "lyon") ==
        "keep-local rules of environment e differ: paris keeps \"licence\", lyon keeps \"licence\" "
        "\"s:x*\"");
  CHECK(explain_difference(a, "paris", {}, "lyon") ==
        "keep-local rules of environment e differ: paris keeps \"licence\", lyon keeps nothing");
  CHECK(explain_difference({}, "paris", a, "lyon").find("paris keeps nothing, lyon keeps") !=
        std::string::npos);
}
