// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "common/config/configuration.h"

namespace hotbackup::config {
namespace {

const std::string kExample = HOTBACKUP_DOCS "/hotbackup.toml";

std::string content(const std::string& path) {
  std::ifstream file(path);
  REQUIRE(file);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("the example of the manual is a correct file without warnings") {
  const auto loaded = load(kExample);
  const std::string why = loaded ? "" : loaded.error().text();
  CAPTURE(why);
  REQUIRE(loaded);
  CHECK(loaded->warnings.empty());
  CHECK(loaded->source == kExample);
}

TEST_CASE("the defaults shown in the manual's comments are the real ones") {
  const std::set<std::string> not_defaults = {"to", "from", "groups", "fingerprint", "user"};
  const std::regex commented(R"(^\s*# ([a-z_]+) = (.*)$)");
  std::istringstream lines(content(kExample));
  std::string text;
  int uncommented = 0;
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, commented) && !not_defaults.contains(match[1])) {
      line = match[1].str() + " = " + match[2].str();
      ++uncommented;
    }
    text += line + "\n";
  }
  CHECK(uncommented > 25);
  const auto explicit_ = parse(text, kExample);
  const std::string why = explicit_ ? "" : explicit_.error().text();
  CAPTURE(why);
  REQUIRE(explicit_);
  CHECK(describe(*explicit_) == describe(*load(kExample)));
}

TEST_CASE("every key in force is described on the manual's page") {
  const std::string page = content(HOTBACKUP_DOCS "/configuration.md");
  const std::regex key(R"(^([a-z_]+) = )");
  std::istringstream lines(describe(*load(kExample)));
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (!std::regex_search(line, match, key)) continue;
    CAPTURE(line);
    CHECK(page.find("`" + match[1].str() + "`") != std::string::npos);
  }
}

TEST_CASE("a file that cannot be read is a configuration error that names it") {
  const auto missing = load("/no/such/file.toml");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == ErrorCode::kConfig);
  CHECK(missing.error().text() == "configuration /no/such/file.toml: No such file or directory");
  const auto directory = load("/");
  REQUIRE_FALSE(directory);
  CHECK(directory.error().code() == ErrorCode::kConfig);
  const auto endless = load("/dev/zero");
  REQUIRE_FALSE(endless);
  CHECK(endless.error().text().find("larger than 1 MB") != std::string::npos);
}

TEST_CASE("the place of the file comes from the environment, or is the system's") {
  ::setenv("HOTBACKUP_CONFIG", "/tmp/x.toml", 1);
  CHECK(default_path() == "/tmp/x.toml");
  ::setenv("HOTBACKUP_CONFIG", "", 1);
  CHECK(default_path() == "/etc/hotbackup/hotbackup.toml");
  ::unsetenv("HOTBACKUP_CONFIG");
  CHECK(default_path() == "/etc/hotbackup/hotbackup.toml");
}

}  // namespace hotbackup::config
