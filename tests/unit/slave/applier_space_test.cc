// SPDX-License-Identifier: Apache-2.0
// Large updates in bounded memory, and disks that are full.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "tests/support/applier_fixture.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

void large_update(UpdateWriter& writer, std::size_t bytes, std::size_t value_bytes) {
  const std::string value(value_bytes, 'v');
  writer.append(1, [&](const auto& add) {
    for (std::size_t i = 0; i < bytes / value_bytes; ++i)
      add(put(named("n"), std::to_string(i * 2'654'435'761u), value));
  });
}

std::size_t peak_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmHWM:", 0) == 0) return std::stoull(line.substr(6));
  return 0;
}

/// A small file system of its own, where the test runs as root.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& path, const char* options) : path_(path) {
    REQUIRE(os::make_directories(path, {}));
    mounted_ = ::mount("none", path.c_str(), "tmpfs", 0, options) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }

 private:
  const std::string path_;
  bool mounted_ = false;
};

}  // namespace

TEST_CASE("an update of 300 MB, in random key order, is applied in little memory") {
  TemporaryDirectory directory;
  {
    auto group = make_group(directory.path(), group_record(control::Role::kSlave));
    UpdateWriter writer(*group);
    writer.epoch();
    writer.environment(environment_body(1, "env1"));
    large_update(writer, 300 << 20, 1000);
    writer.append(1, {put(main_database(), "after", "1")});
    writer.sync();
  }
  int peak[2];
  REQUIRE(::pipe(peak) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // A fresh high-water mark: the parent's is not this process's.
    std::ofstream("/proc/self/clear_refs") << "5";
    auto group = control::Group::open(directory.path());
    slave::Copies copies(**group);
    slave::Applier applier(**group, copies, nullptr);
    if (!group || !applier.start()) ::_exit(1);
    while (applier.working() && applier.applied() < (*group)->made()) ::usleep(1000);
    applier.stop();
    const std::size_t kilobytes = peak_kilobytes();
    const bool told = ::write(peak[1], &kilobytes, sizeof kilobytes) == sizeof kilobytes;
    ::_exit(told && applier.working() ? 0 : 2);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) == 0);
  std::size_t kilobytes = 0;
  REQUIRE(::read(peak[0], &kilobytes, sizeof kilobytes) == sizeof kilobytes);
  MESSAGE("peak " << kilobytes / 1024 << " MiB");
  CHECK(kilobytes < 90 * 1024);
  auto environment = open_environment(directory / "copies/env1", 0);
  const auto digest = lmdb::digest(environment);
  REQUIRE(digest);
  CHECK(digest->at(0).items == 1);
  CHECK(digest->at(1).items == (300 << 20) / 1000);
}

TEST_CASE("on a full disk the applier waits, says so, and goes on when there is room") {
  TemporaryDirectory directory;
  auto record = group_record(control::Role::kSlave);
  record.patterns = {{"env1", directory / "small/env1"}};
  SmallDisk disk(directory / "small", "size=24m");
  if (!disk.mounted()) {
    MESSAGE("skipped: mounting a small file system needs root");
    return;
  }
  auto group = make_group(directory / "group", record);
  UpdateWriter writer(*group);
  writer.epoch();
  writer.environment(environment_body(1, "env1"));
  writer.append(1, {put(main_database(), "before", "1")});
  writer.sync();
  slave::ApplierLimits limits;
  limits.retry = std::chrono::milliseconds(20);
  slave::Copies copies(*group);
  slave::Applier applier(*group, copies, nullptr, limits);
  REQUIRE(applier.start());
  REQUIRE(comes_true([&] { return applier.applied() == group->made(); }));

  // Small updates until nothing fits, so that the map grows into the full disk.
  for (int i = 0; i < 300; ++i)
    writer.append(1, {put(main_database(), std::to_string(i), std::string(60'000, 's'))});
  std::ofstream(directory / "small/ballast") << std::string(10 << 20, 'b');
  writer.sync();
  applier.wake();
  REQUIRE(comes_true([&] { return group->incidents().open().empty() == false; }));
  CHECK(group->incidents().open().at(0).code == "HB-no-space");
  CHECK(applier.working());
  REQUIRE(::unlink((directory / "small/ballast").c_str()) == 0);
  REQUIRE(comes_true([&] { return applier.applied() == group->made(); }));
  CHECK(group->incidents().open().empty());

  // One large update that cannot fit at all, then a larger disk.
  large_update(writer, 20 << 20, 3000);
  writer.sync();
  applier.wake();
  REQUIRE(comes_true([&] { return group->incidents().open().empty() == false; }));
  CHECK(applier.working());
  REQUIRE(::mount("none", (directory / "small").c_str(), "tmpfs", MS_REMOUNT, "size=200m") == 0);
  REQUIRE(comes_true([&] { return applier.applied() == group->made(); }));
  applier.stop();
  auto environment = open_environment(directory / "small/env1", 0);
  const auto digest = lmdb::digest(environment);
  REQUIRE(digest);
  CHECK(digest->at(0).items == 301);
  CHECK(digest->at(1).items == (20 << 20) / 3000);
}
