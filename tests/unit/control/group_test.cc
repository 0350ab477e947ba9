// SPDX-License-Identifier: Apache-2.0
#include "common/control/group.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>

#include "common/update/codec.h"
#include "tests/support/journal_fixture.h"

using namespace hotbackup;
using namespace hotbackup::control;

namespace {

GroupRecord sample_record() {
  GroupRecord record;
  record.id = test::test_group();
  record.name = "dns";
  record.node_name = "paris";
  record.node = NodeId(0xabcdef);
  record.role = Role::kMaster;
  record.master_name = "paris";
  record.segment_bytes = 1 << 20;
  record.peers = {"lyon"};
  record.patterns = {{"zones", "/data/pdns.lmdb*"}, {"users", "/data/users"}};
  return record;
}

void make_group(const std::string& path, const GroupRecord& record) {
  REQUIRE(::mkdir((path + "/journal").c_str(), 0755) == 0);
  REQUIRE(write_group_file(path, record));
}

journal::Appended append(Group& group, EnvironmentEntry* entry, TxnId txnid) {
  auto lock = group.journal().lock();
  journal::PendingUpdate update(group.journal_directory());
  journal::FrameHeader fields;
  fields.epoch = {1, NodeId(0xabcdef)};
  fields.environment = EnvironmentNumber(entry == nullptr ? 0 : entry->number);
  fields.txnid = txnid;
  auto appended = group.journal().append(*lock, update, fields, [&](const journal::Appended& a) {
    if (entry != nullptr) Group::open_slot(*entry, a, txnid);
  });
  REQUIRE(appended);
  return *appended;
}

}  // namespace

TEST_CASE("a group file reads back, strange characters included") {
  test::TemporaryDirectory directory;
  GroupRecord record = sample_record();
  record.environments = {
      {EnvironmentNumber(1), "zones-1", "zones", "-\"\\\n", "/data/x\ty", false}};
  REQUIRE(write_group_file(directory.path(), record));
  const auto read = read_group_file(directory.path());
  REQUIRE(read);
  CHECK(read->id == record.id);
  CHECK(read->node == record.node);
  CHECK(read->role == Role::kMaster);
  CHECK(read->peers == record.peers);
  CHECK(read->permissions.uid == static_cast<uid_t>(-1));
  REQUIRE(read->environments.size() == 1);
  CHECK(read->environments[0].match == "-\"\\\n");
  CHECK(read->environments[0].path == "/data/x\ty");
  CHECK_FALSE(read->environments[0].subdirectory);
}

TEST_CASE("a damaged group file is an error with line and column") {
  test::TemporaryDirectory directory;
  REQUIRE(os::replace_file(directory / "group.toml", "id = \"\"\nname = [", {}));
  const auto read = read_group_file(directory.path());
  REQUIRE_FALSE(read);
  CHECK(read.error().text().find("group.toml:2:") != std::string::npos);
}

TEST_CASE("patterns match files of their directory, never lock files") {
  CHECK(match_pattern("/d/pdns.lmdb*", "/d/pdns.lmdb") == "");
  CHECK(match_pattern("/d/pdns.lmdb*", "/d/pdns.lmdb-63") == "-63");
  CHECK_FALSE(match_pattern("/d/pdns.lmdb*", "/d/pdns.lmdb-63-lock"));
  CHECK_FALSE(match_pattern("/d/pdns.lmdb*", "/d/pdns.lmdb/x"));
  CHECK_FALSE(match_pattern("/d/pdns.lmdb*", "/d/other"));
  CHECK(match_pattern("/d/users", "/d/users") == "");
}

TEST_CASE("files that appear join by pattern, with numbers that survive a rebuilt control file") {
  test::TemporaryDirectory directory;
  make_group(directory.path(), sample_record());
  {
    auto group = Group::open(directory.path());
    REQUIRE(group);
    CHECK(*(*group)->join("/elsewhere", true) == nullptr);
    CHECK((*(*group)->join("/data/pdns.lmdb", false))->number == 1);
    CHECK((*(*group)->join("/data/users", true))->number == 2);
    EnvironmentEntry* shard = *(*group)->join("/data/pdns.lmdb-0", false);
    CHECK(std::string(shard->name) == "zones-2");
    CHECK(std::string(shard->match) == "-0");
    CHECK((*(*group)->join("/data/pdns.lmdb", false))->number == 1);
  }
  REQUIRE(::unlink((directory / "control").c_str()) == 0);
  auto group = Group::open(directory.path());
  REQUIRE(group);
  CHECK((*group)->environment_at("/data/pdns.lmdb-0")->number == 3);
  CHECK(std::string((*group)->environment(EnvironmentNumber(2))->name) == "users");
  CHECK((*group)->environment(EnvironmentNumber(4)) == nullptr);
}

TEST_CASE("published never passes an open slot nor what is synced") {
  test::TemporaryDirectory directory;
  make_group(directory.path(), sample_record());
  auto opened = Group::open(directory.path());
  REQUIRE(opened);
  Group& group = **opened;
  EnvironmentEntry* users = *group.join("/data/users", true);
  EnvironmentEntry* zones = *group.join("/data/pdns.lmdb", false);
  append(group, users, TxnId(1));
  append(group, zones, TxnId(1));
  CHECK(group.made() == UpdateNumber(2));
  CHECK(group.decided() == UpdateNumber(0));
  Group::open_slot(*users, {UpdateNumber(1), {}}, TxnId(1));
  group.clear_slot(*zones, UpdateNumber(2));
  CHECK(group.decided() == UpdateNumber(0));
  group.clear_slot(*users, UpdateNumber(1));
  CHECK(group.decided() == UpdateNumber(2));
  CHECK(group.published() == UpdateNumber(0));
  REQUIRE(group.journal().sync_through(UpdateNumber(2)));
  CHECK(group.published() == UpdateNumber(2));
}

TEST_CASE(
    "a rebuilt control file knows numbers, role and the txnid each environment is due to show") {
  test::TemporaryDirectory directory;
  make_group(directory.path(), sample_record());
  {
    auto group = Group::open(directory.path());
    REQUIRE(group);
    EnvironmentEntry* users = *(*group)->join("/data/users", true);
    auto lock = (*group)->journal().lock();
    REQUIRE((*group)->journal().append_control(
        *lock, journal::FrameKind::kBaseline,
        update::write_baseline({NodeId(0xabcdef), EnvironmentNumber(1), TxnId(40)}), {}));
    lock->release();
    append(**group, users, TxnId(41));
    append(**group, users, TxnId(42));
    EnvironmentEntry* zones = *(*group)->join("/data/pdns.lmdb", false);
    CHECK(zones->baselined.load() == 0);
  }
  REQUIRE(::unlink((directory / "control").c_str()) == 0);
  auto group = Group::open(directory.path());
  REQUIRE(group);
  CHECK((*group)->made() == UpdateNumber(3));
  CHECK((*group)->role() == Role::kMaster);
  EnvironmentEntry* users = (*group)->environment_at("/data/users");
  CHECK(users->baselined.load() == 1);
  CHECK(users->last_txnid.load() == 42);
  CHECK((*group)->environment_at("/data/pdns.lmdb")->baselined.load() == 0);
}

TEST_CASE("a control file cut short or overwritten is rebuilt, never followed") {
  test::TemporaryDirectory directory;
  make_group(directory.path(), sample_record());
  { REQUIRE(Group::open(directory.path())); }
  REQUIRE(::truncate((directory / "control").c_str(), 100) == 0);
  { REQUIRE(Group::open(directory.path())); }
  REQUIRE(os::replace_file(directory / "control", std::string(sizeof(Layout), 'x'), {}));
  auto group = Group::open(directory.path());
  REQUIRE(group);
  CHECK((*group)->made() == UpdateNumber(0));
}

TEST_CASE("a slave adopts the group id once and refuses another") {
  test::TemporaryDirectory directory;
  GroupRecord record = sample_record();
  record.id = GroupId{};
  record.role = Role::kSlave;
  make_group(directory.path(), record);
  auto group = Group::open(directory.path());
  REQUIRE(group);
  REQUIRE((*group)->adopt_id(test::test_group(), "paris"));
  REQUIRE((*group)->adopt_id(test::test_group(), "paris"));
  GroupId other = test::test_group();
  other.bytes[0] ^= 1;
  CHECK((*group)->adopt_id(other, "paris").error().code() == ErrorCode::kRefused);
  CHECK(read_group_file(directory.path())->id == test::test_group());
}

TEST_CASE("a server's liveness is known without the server") {
  test::TemporaryDirectory directory;
  make_group(directory.path(), sample_record());
  auto first = *Group::open(directory.path());
  auto second = *Group::open(directory.path());
  CHECK_FALSE(second->server_alive(Group::Server::kMaster));
  REQUIRE(first->hold_server(Group::Server::kMaster));
  CHECK(second->server_alive(Group::Server::kMaster));
  CHECK(second->hold_server(Group::Server::kMaster).error().code() == ErrorCode::kBusy);
  first->release_server(Group::Server::kMaster);
  CHECK_FALSE(second->server_alive(Group::Server::kMaster));
  CHECK(second->layout().servers[0].stopped_ns.load() != 0);
}

TEST_CASE(
    "clocks more than a second apart, the doubt left out, are an incident until they are not") {
  test::TemporaryDirectory directory;
  make_group(directory.path(), sample_record());
  const auto group = Group::open(directory.path()).value();
  PeerEntry& lyon = *group->peer("lyon");
  using namespace std::chrono_literals;
  CHECK(group->clock_of(lyon).measured_ns.load() == 0);
  group->note_clock(lyon, -900ms, 0ms);
  CHECK(group->clock_of(lyon).offset_ns.load() == -900'000'000);
  CHECK(group->clock_of(lyon).measured_ns.load() != 0);
  CHECK_FALSE(group->incidents().find("HB-clock-differs", "lyon"));
  group->note_clock(lyon, 1500ms, 600ms);
  CHECK_FALSE(group->incidents().find("HB-clock-differs", "lyon"));
  group->note_clock(lyon, -1500ms, 100ms);
  REQUIRE(group->incidents().find("HB-clock-differs", "lyon"));
  CHECK(group->incidents().find("HB-clock-differs", "lyon")->text.find("1.5 s behind") !=
        std::string::npos);
  group->note_clock(lyon, 10ms, 0ms);
  CHECK_FALSE(group->incidents().find("HB-clock-differs", "lyon"));
}

TEST_CASE("a clock that is stepped while the link stands is heard, a late message is not a step") {
  test::TemporaryDirectory directory;
  make_group(directory.path(), sample_record());
  const auto group = Group::open(directory.path()).value();
  PeerEntry& lyon = *group->peer("lyon");
  using namespace std::chrono_literals;
  const auto raised = [&] {
    return group->incidents().find("HB-clock-differs", "lyon").has_value();
  };
  group->hear_clock(lyon, 5s);  // nothing is known yet of this link
  CHECK_FALSE(raised());
  group->note_clock(lyon, 0ms, 1ms);
  group->hear_clock(lyon, -20s);
  CHECK_FALSE(raised());
  CHECK(group->clock_of(lyon).offset_ns.load() == 0);
  group->hear_clock(lyon, 3s);
  CHECK(raised());
  group->hear_clock(lyon, 2900ms);
  CHECK(group->clock_of(lyon).offset_ns.load() == 3'000'000'000);
  group->hear_clock(lyon, -1ms);
  CHECK_FALSE(raised());
  group->note_clock(lyon, -4s, 1ms);
  CHECK(raised());
  group->hear_clock(lyon, -2ms);
  CHECK_FALSE(raised());
}

TEST_CASE("incidents stand side by side, count, and are cleared one by one") {
  test::TemporaryDirectory directory;
  make_group(directory.path(), sample_record());
  auto group = *Group::open(directory.path());
  control::IncidentTable incidents = group->incidents();
  CHECK(incidents.open().empty());
  incidents.raise("HB-disk-full", "", "no room in /x");
  incidents.raise("HB-copy-written", "zones-1", "by somebody");
  incidents.raise("HB-copy-written", "zones-2", "by somebody else");
  incidents.raise("HB-copy-written", "zones-2", "again");
  CHECK(incidents.open().size() == 3);
  const auto twice = incidents.find("HB-copy-written", "zones-2");
  REQUIRE(twice);
  CHECK(twice->text == "again");
  CHECK(twice->count == 2);
  CHECK(twice->first <= twice->last);
  auto other = *Group::open(directory.path());  // another process's view
  CHECK(other->incidents().open().size() == 3);
  incidents.clear("HB-copy-written", "zones-1");
  CHECK_FALSE(incidents.find("HB-copy-written", "zones-1"));
  incidents.clear_all("HB-copy-written");
  REQUIRE(incidents.open().size() == 1);
  CHECK(incidents.open().front().code == "HB-disk-full");
}

TEST_CASE("a full table of incidents gives up the oldest") {
  test::TemporaryDirectory directory;
  make_group(directory.path(), sample_record());
  auto group = *Group::open(directory.path());
  for (std::size_t i = 0; i <= control::kIncidentsMax; ++i)
    group->incidents().raise("HB-copy-written", "zones-" + std::to_string(i), "text");
  CHECK(group->incidents().open().size() == control::kIncidentsMax);
  CHECK_FALSE(group->incidents().find("HB-copy-written", "zones-0"));
  CHECK(group->incidents().find("HB-copy-written",
                                "zones-" + std::to_string(control::kIncidentsMax)));
}

TEST_CASE(
    "a control file of another version is laid out anew when its last user has gone, not before") {
  test::TemporaryDirectory directory;
  make_group(directory.path(), sample_record());
  REQUIRE(Group::open(directory.path()));
  {
    const os::UniqueFd fd(::open((directory / "control").c_str(), O_RDWR));
    const std::uint32_t version = kVersion - 1;
    REQUIRE(::pwrite(fd.get(), &version, sizeof version, offsetof(Layout, version)) == 4);
  }

  int held[2];
  REQUIRE(::pipe(held) == 0);
  const pid_t child = ::fork();  // a program that started before the upgrade
  if (child == 0) {
    const os::UniqueFd fd(::open((directory / "control").c_str(), O_RDWR));
    void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    (void)!::write(held[1], memory == MAP_FAILED ? "n" : "y", 1);
    for (;;) ::pause();
  }
  char mapped = 0;
  REQUIRE(::read(held[0], &mapped, 1) == 1);
  REQUIRE(mapped == 'y');
  const auto refused = Group::open(directory.path());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::kVersion);
  CHECK(refused.error().text().find("pid " + std::to_string(child)) != std::string::npos);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(held[0]);
  ::close(held[1]);

  const auto anew = Group::open(directory.path());
  REQUIRE(anew);
  CHECK((*anew)->layout().version == kVersion);
}

TEST_CASE("a control file is not laid out anew for who sees another boot id while others have it") {
  test::TemporaryDirectory directory;
  make_group(directory.path(), sample_record());
  const std::string control = directory / "control";
  std::string boot(36, '1');
  std::uint64_t somewhere_else = 1;
  SUBCASE("in this pid namespace") {
    somewhere_else = (*Group::open(directory.path()))->layout().pid_namespace;
  }
  SUBCASE("in another one") {
    REQUIRE(Group::open(directory.path()));
  }
  int held[2];
  REQUIRE(::pipe(held) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const os::UniqueFd fd(::open(control.c_str(), O_RDWR));
    void* memory = ::mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    auto* layout = static_cast<Layout*>(memory);
    boot.copy(layout->boot, sizeof layout->boot);
    layout->pid_namespace = somewhere_else;
    (void)!::write(held[1], "y", 1);
    for (;;) ::pause();
  }
  char mapped = 0;
  REQUIRE(::read(held[0], &mapped, 1) == 1);
  const auto refused = Group::open(directory.path());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::kRefused);
  CHECK(refused.error().text().find("pid " + std::to_string(child)) != std::string::npos);
  {
    const os::UniqueFd fd(::open(control.c_str(), O_RDWR));
    void* memory = ::mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    auto* layout = static_cast<Layout*>(memory);
    CHECK(std::string(layout->boot) == boot);
    CHECK(IncidentTable(*layout).find("HB-pid-namespace", "control_test"));
    ::munmap(memory, sizeof(Layout));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(held[0]);
  ::close(held[1]);

  const auto anew = Group::open(directory.path());  // as after a boot: nobody has it
  REQUIRE(anew);
  CHECK(std::string((*anew)->layout().boot) != boot);
  CHECK((*anew)->layout().pid_namespace != 1);
}

TEST_CASE("a smaller control file of another version is not grown under its users either") {
  test::TemporaryDirectory directory;
  make_group(directory.path(), sample_record());
  REQUIRE(Group::open(directory.path()));
  os::UniqueFd fd(::open((directory / "control").c_str(), O_RDWR));
  const std::uint32_t version = kVersion + 1;
  REQUIRE(::pwrite(fd.get(), &version, sizeof version, offsetof(Layout, version)) == 4);
  REQUIRE(::ftruncate(fd.get(), 8192) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (memory == MAP_FAILED) ::_exit(1);
    ::raise(SIGSTOP);
    for (;;) ::pause();
  }
  fd.reset();
  int status = 0;
  REQUIRE(::waitpid(child, &status, WUNTRACED) == child);
  CHECK(WIFSTOPPED(status));
  const auto refused = Group::open(directory.path());
  CHECK_FALSE(refused);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(Group::open(directory.path()));
}
