// SPDX-License-Identifier: Apache-2.0
#include "common/people/message.h"

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/temporary_directory.h"

namespace hotbackup::people {
namespace {

using nlohmann::ordered_json;
using std::chrono::seconds;

constexpr WallTime kNow{seconds(1'800'000'000)};
const std::atomic<bool> kGoOn = false;

Notice notice(bool cleared) {
  Notice one;
  one.incident.group = "dns";
  one.incident.code = "HB-link-down";
  one.incident.subject = "lyon";
  one.incident.text = "lyon was heard last at 07:59:00";
  one.incident.first = one.incident.last = kNow - seconds(60);
  one.cleared = cleared;
  if (cleared) one.incident.cleared = kNow;
  return one;
}

}  // namespace

TEST_CASE("a message says what, since when and what to type, with the group's name in it") {
  const auto message = ordered_json::parse(make_message("paris", {notice(false)}, kNow));
  CHECK(message.at("node") == "paris");
  CHECK(message.at("title") == "paris: dns: HB-link-down lyon: lyon was heard last at 07:59:00");
  const std::string text = message.at("text");
  CHECK(text.find("hotbackup promote dns --dry-run") != std::string::npos);
  CHECK(text.find("since 2027-01-15T07:59:00.000Z") != std::string::npos);
  const auto& incident = message.at("incidents").at(0);
  for (const char* name : {"code", "severity", "time", "text", "action", "cleared"})
    CHECK(incident.contains(name));
  CHECK(incident.at("cleared").is_null());
  CHECK(incident.at("severity") == "error");
}

TEST_CASE("an all-clear says so") {
  const auto message = ordered_json::parse(make_message("paris", {notice(true)}, kNow));
  CHECK(message.at("title") == "paris: dns: HB-link-down lyon is over");
  CHECK(message.at("incidents").at(0).at("cleared") == "2027-01-15T08:00:00.000Z");
}

TEST_CASE("a file gets a line a message, a command gets it in its environment") {
  test::TemporaryDirectory directory;
  const std::string file = directory.path() + "/told";
  const std::string message = make_message("paris", {notice(false)}, kNow);
  REQUIRE(send("file:" + file, message, std::nullopt, kGoOn));
  REQUIRE(send("file:" + file, message, std::nullopt, kGoOn));
  std::ifstream in(file);
  std::string line;
  REQUIRE(std::getline(in, line));
  CHECK(line == message);
  REQUIRE(std::getline(in, line));
  CHECK_FALSE(std::getline(in, line));
  const std::string out = directory.path() + "/out";
  REQUIRE(
      send("exec:printf '%s %s %s' \"$HOTBACKUP_CODE\" \"$HOTBACKUP_SEVERITY\" "
           "\"$HOTBACKUP_GROUP\" >" +
               out,
           message, std::nullopt, kGoOn));
  std::ifstream said(out);
  REQUIRE(std::getline(said, line));
  CHECK(line == "HB-link-down error dns");
}

TEST_CASE("what does not work says why") {
  const std::string message = make_test_message("paris", kNow);
  const auto refuses = [&](const std::string& to, const std::string& why) {
    const auto sent = send(to, message, std::nullopt, kGoOn);
    REQUIRE_FALSE(sent);
    CHECK_MESSAGE(sent.error().text().find(why) != std::string::npos, sent.error().text());
  };
  refuses("exec:echo no way >&2; exit 3", "ended with 3: no way");
  refuses("file:/nowhere/at/all", "/nowhere/at/all");
  refuses("mailto:ops@example.org", "smtp is off");
  refuses("http://127.0.0.1:1/hook", "onnect");
}

TEST_CASE("a command that hangs is broken off when the server stops") {
  std::atomic<bool> stop = true;
  const auto begin = std::chrono::steady_clock::now();
  CHECK_FALSE(send("exec:sleep 25", make_test_message("paris", kNow), std::nullopt, stop));
  CHECK(std::chrono::steady_clock::now() - begin < seconds(10));
}

TEST_CASE("of a URL only its host is named") {
  CHECK(name_of("https://user:word@hooks.example.org/T0/secret") == "https://hooks.example.org");
  CHECK(name_of("http://127.0.0.1:80") == "http://127.0.0.1:80");
  CHECK(name_of("mailto:ops@example.org") == "mailto:ops@example.org");
}

}  // namespace hotbackup::people
