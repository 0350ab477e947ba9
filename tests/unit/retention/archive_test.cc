// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <asio/io_context.hpp>
#include <csignal>
#include <cstdlib>
#include <fstream>

#include "common/journal/segment.h"
#include "common/net/child_process.h"
#include "common/net/task_group.h"
#include "common/retention/archiver.h"
#include "tests/unit/master/group_on_disk.h"

using namespace hotbackup;
using namespace hotbackup::retention;
using namespace std::chrono_literals;

namespace {

asio::awaitable<void> run_into(net::Command command, Result<>& result) {
  Result<> done = co_await net::run_command(std::move(command));
  result = std::move(done);
}

Result<> run(const std::string& shell, std::chrono::milliseconds limit = 20s) {
  asio::io_context io;
  net::TaskGroup tasks(io.get_executor());
  Result<> result = fail(ErrorCode::kCancelled, "did not run");
  tasks.spawn(run_into({shell, {{"HOTBACKUP_GROUP", "dns"}}, limit}, result));
  io.run();
  return result;
}

/// Runs the archiver until `done` says so.
void archive_until(control::Group& group, const config::Group& configuration,
                   const std::function<bool()>& done) {
  asio::io_context io;
  net::Worker disk("archive");
  Archiver archiver(io.get_executor(), group, configuration, disk);
  net::TaskGroup tasks(io.get_executor());
  tasks.spawn(archiver.run());
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (!done() && std::chrono::steady_clock::now() < end) io.run_for(5ms);
  tasks.cancel();
  io.run();
  CHECK(done());
}

}  // namespace

TEST_CASE("a command's end and the last line of its stderr are told") {
  CHECK(run("true"));
  const auto failed = run("echo first >&2; echo 'no room on tape' >&2; exit 3");
  REQUIRE_FALSE(failed);
  CHECK(failed.error().text() == "ended with 3: no room on tape");
  CHECK(run("kill -9 $$").error().text() == "was ended by signal 9");
  // More than a pipe holds is read meanwhile.
  const auto much =
      run("i=0; while [ $i -lt 3000 ]; do echo 'a line of forty characters, or near it' >&2; "
          "i=$((i+1)); done; echo end >&2; exit 1");
  CHECK(much.error().text() == "ended with 1: end");
}

TEST_CASE("a command gets none of this process's secrets") {
  ::setenv("SECRET", "x", 1);
  CHECK(run(
      "test -z \"$SECRET$NOTIFY_SOCKET\" && test \"$HOTBACKUP_GROUP\" = dns && test -n \"$PATH\""));
  REQUIRE(::dup2(STDERR_FILENO, 200) == 200);  // inherited like a socket of Asio's
  CHECK(run("test ! -e /proc/$$/fd/200"));
  ::close(200);
}

TEST_CASE("a command that takes too long is killed with its children") {
  test::TemporaryDirectory place;
  const auto begin = std::chrono::steady_clock::now();
  const auto late = run("sleep 600 & echo $! > " + (place / "pid") + "; wait", 200ms);
  REQUIRE_FALSE(late);
  CHECK(late.error().code() == ErrorCode::kTimeout);
  CHECK(std::chrono::steady_clock::now() - begin < 10s);
  const std::string pid = std::to_string(std::stoi(*os::read_file(place / "pid")));
  const auto runs = [&] {  // dead, and perhaps not yet buried by init
    const auto stat = os::read_file("/proc/" + pid + "/stat");
    return stat && stat->find(") Z") == std::string::npos;
  };
  for (int i = 0; i < 1000 && runs(); ++i) ::usleep(1000);
  CHECK_FALSE(runs());
}

TEST_CASE("a command that leaves a child with its stderr is not waited for longer than itself") {
  const auto begin = std::chrono::steady_clock::now();
  CHECK(run("sleep 600 & exit 0"));
  CHECK(std::chrono::steady_clock::now() - begin < 10s);
}

TEST_CASE("the archive command names path and file") {
  CHECK(expand_archive_command("cp %p /a/%f 100%%", "/j/1.hbj", "1.hbj") ==
        "cp /j/1.hbj /a/1.hbj 100%");
}

TEST_CASE("closed segments are archived in order, each until it succeeds, the active one never") {
  test::TemporaryDirectory place;
  test::GroupOnDisk fixture(64 * 1024);
  control::Group& group = fixture.group();
  for (int i = 0; i < 12; ++i) fixture.append(18'000);
  const auto segments = *segments_of(group);
  config::Group configuration;
  configuration.name = "dns";
  configuration.check_period = 10ms;
  // Every segment fails twice before it is taken.
  configuration.archive =
      "echo %f >> " + (place / "tried") + "; n=$(grep -c %f " + (place / "tried") +
      "); [ $n -ge 3 ] || { echo disk of tapes is off >&2; exit 1; }; cp %p " + (place / "%f");
  const auto taken = [&](std::size_t many) {
    return read_record(group)->archived == segments[many - 1].last;
  };
  bool told = false;
  archive_until(group, configuration, [&] {
    if (const auto incident = group.incidents().find("HB-archive-failed"))
      told = told || incident->text.find("disk of tapes is off") != std::string::npos;
    return taken(3);
  });
  CHECK(told);
  CHECK_FALSE(group.incidents().find("HB-archive-failed"));
  std::string tried;
  for (std::size_t i = 0; i < 3; ++i)
    for (int n = 0; n < 3; ++n) tried += journal::segment_name(segments[i].first) + "\n";
  CHECK(*os::read_file(place / "tried") == tried);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::string name = journal::segment_name(segments[i].first);
    CHECK(*os::read_file(place / name) == *os::read_file(group.directory() + "/journal/" + name));
  }
  CHECK_FALSE(os::read_file(place / journal::segment_name(segments[3].first)));
}

TEST_CASE("a segment with a commit whose fate is open is not archived yet") {
  test::GroupOnDisk fixture(64 * 1024);
  control::Group& group = fixture.group();
  std::ofstream(fixture.data("users")) << "";
  auto entry = *group.join(fixture.data("users"), false);
  for (int i = 0; i < 9; ++i) fixture.append(18'000);
  entry->slot.number.store(2);
  CHECK_FALSE(*next_to_archive(group));
  entry->slot.number.store(5);
  REQUIRE(*next_to_archive(group));
  CHECK((**next_to_archive(group)).first == UpdateNumber(1));
  entry->slot.number.store(0);
  REQUIRE(change_record(group, [](Record& record) { record.archived = UpdateNumber(3); }));
  CHECK((**next_to_archive(group)).first == UpdateNumber(4));
}
