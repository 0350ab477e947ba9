// SPDX-License-Identifier: Apache-2.0
#include "common/incident/catalogue.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

using namespace hotbackup;

namespace {

/// Codes that are raised, by the quoted literal, in all sources but the catalogue itself.
std::set<std::string> codes_in_sources() {
  // Verdicts of commands, not incidents of a group.
  const std::set<std::string> of_commands = {"HB-config", "HB-usage", "HB-failed", "HB-refused"};
  const std::regex literal("\"(HB-[a-z-]*[a-z])\"");
  std::set<std::string> codes;
  for (const char* folder : {"common", "master", "slave", "tools"}) {
    const auto root = std::filesystem::path(HOTBACKUP_SOURCE) / folder;
    for (const auto& file : std::filesystem::recursive_directory_iterator(root)) {
      const auto& path = file.path();
      if ((path.extension() != ".cc" && path.extension() != ".h") || path.stem() == "catalogue")
        continue;
      std::ifstream in(path);
      std::stringstream text;
      text << in.rdbuf();
      const std::string source = text.str();
      for (std::sregex_iterator at(source.begin(), source.end(), literal), end; at != end; ++at)
        if (!of_commands.contains((*at)[1])) codes.insert((*at)[1]);
    }
  }
  return codes;
}

}  // namespace

TEST_CASE("every code that is raised is in the catalogue, and every entry is raised somewhere") {
  const auto raised = codes_in_sources();
  REQUIRE(raised.size() > 5);
  for (const std::string& code : raised) CHECK_MESSAGE(incident::find(code) != nullptr, code);
  for (const incident::Entry& entry : incident::catalogue())
    CHECK_MESSAGE(raised.contains(std::string(entry.code)), entry.code);
}

TEST_CASE("every incident is raised by some test, which names it") {
  std::string tests;
  for (const char* folder : {"tests/unit", "tests/system", "tests/crash"}) {
    const auto root = std::filesystem::path(HOTBACKUP_SOURCE) / folder;
    if (!std::filesystem::exists(root)) continue;
    for (const auto& file : std::filesystem::recursive_directory_iterator(root)) {
      const auto& path = file.path();
      if ((path.extension() != ".cc" && path.extension() != ".py") ||
          path.stem() == "catalogue_test")
        continue;
      std::ifstream in(path);
      std::stringstream text;
      text << in.rdbuf();
      tests += text.str();
    }
  }
  for (const incident::Entry& entry : incident::catalogue()) {
    const bool named = tests.find("\"" + std::string(entry.code) + "\"") != std::string::npos;
    CHECK_MESSAGE(named, entry.code);
  }
}

TEST_CASE("the names of group and peer are in what is to be done") {
  CHECK(incident::action_for("HB-journal-limit", "dns", "lyon").find("hotbackup forget dns lyon") !=
        std::string::npos);
  CHECK(incident::action_for("HB-no-such-thing", "dns", "") == "");
  CHECK(incident::severity_of("HB-no-such-thing") == incident::Severity::kError);
}

TEST_CASE("the operator's page is the catalogue") {
  std::ifstream in(std::filesystem::path(HOTBACKUP_SOURCE) / "docs/operating/incidents.md");
  std::stringstream page;
  page << in.rdbuf();
  std::size_t rows = 0;
  for (const incident::Entry& entry : incident::catalogue()) {
    std::string row = "| " + std::string(entry.code) + " | ";
    row += std::string(incident::severity_name(entry.severity)) + " | ";
    row += std::string(entry.meaning) + " | " + std::string(entry.action) + " |\n";
    CHECK_MESSAGE(page.str().find(row) != std::string::npos, row);
    ++rows;
  }
  const std::string text = page.str();
  CHECK(static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) == rows + 7);
}

TEST_CASE("an unknown code is not found") {
  CHECK(incident::find("HB-no-such-thing") == nullptr);
  CHECK(incident::find("") == nullptr);
}
