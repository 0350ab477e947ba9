// SPDX-License-Identifier: Apache-2.0
#include "common/control/known_difference.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include "common/control/apply_decisions.h"
#include "tests/support/group_fixture.h"
#include "tests/support/temporary_directory.h"

namespace hotbackup::control {
namespace {

constexpr char kCode[] = "HB-copy-differs";

}  // namespace

TEST_CASE("a master knows after a reboot that a copy differs, until it is proved equal") {
  test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/group";
  auto group = test::make_group(path, test::group_record(Role::kMaster));
  REQUIRE(note_difference(*group, "lyon", "3 differences"));
  CHECK(group->incidents().find(kCode, "lyon")->text == "3 differences");
  group.reset();
  REQUIRE(::unlink((path + "/control").c_str()) == 0);
  group = test::open_group(path);
  REQUIRE(group->incidents().find(kCode));
  CHECK(group->incidents().find(kCode)->text == "3 differences");
  REQUIRE(forget_difference(*group, "lyon"));
  CHECK(group->incidents().open().empty());
  CHECK(read_apply_decisions(path)->differs.empty());
}

TEST_CASE("a copy that is proved equal says nothing about another slave's") {
  test::TemporaryDirectory directory;
  auto group = test::make_group(directory.path() + "/group", test::group_record(Role::kMaster));
  REQUIRE(note_difference(*group, "lyon", "here"));
  REQUIRE(note_difference(*group, "nice", "there"));
  REQUIRE(forget_difference(*group, "lyon"));
  CHECK(group->incidents().open().size() == 1);
  CHECK(read_apply_decisions(group->directory())->differs == "there");
}

}  // namespace hotbackup::control
