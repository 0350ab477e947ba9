// SPDX-License-Identifier: Apache-2.0
// What becomes of an environment's last update when the machine stops: CAPTURE section 4. A power
// loss that LMDB's last meta page did not survive is made by putting back the data file as it was.
#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "common/recovery/environment_recovery.h"
#include "tests/unit/capture/transaction.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

class Machine {
 public:
  explicit Machine(unsigned flags = 0)
      : flags_(flags), path_(fixture_.environment_directory("env")) {}

  int put(const std::string& key, const std::string& value = "1") {
    Env env(path_, flags_);
    Txn txn(env);
    const MDB_dbi users = txn.open("users");
    REQUIRE(txn.put(users, key, value) == 0);
    return txn.commit();
  }
  /// As a program without the library: it finds no link.
  void put_uncaptured(const std::string& key) {
    const std::string links[] = {path_ + "/.hotbackup", fixture_.data() + "/.hotbackup"};
    for (const std::string& link : links) std::rename(link.c_str(), (link + ".off").c_str());
    write_plainly(key);
    for (const std::string& link : links) std::rename((link + ".off").c_str(), link.c_str());
  }
  void write_plainly(const std::string& key) {
    auto environment = *lmdb::Environment::open({path_});
    auto txn = *lmdb::Transaction::begin(environment, false);
    lmdb::DatabaseHandles handles;
    lmdb::OperationApplier applier(handles);
    REQUIRE(applier.apply(txn, {update::OperationKind::kPut, {false, "users", 0}, key, "1", 0}));
    REQUIRE(txn.commit());
  }
  std::string data_file() const {
    std::ifstream in(path_ + "/data.mdb", std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void put_back(const std::string& bytes) {
    std::fstream out(path_ + "/data.mdb", std::ios::binary | std::ios::in | std::ios::out);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  /// The next to come finds a control file of another boot.
  void reboot() {
    control::Layout& layout = fixture_.group().layout();
    layout.boot[0] = layout.boot[0] == 'x' ? 'y' : 'x';
    booted_ = *control::Group::open(fixture_.group_path());
  }
  bool has(const std::string& key) {
    Env env(path_, MDB_RDONLY);
    return content_of(env.get())["users"].items.contains({key, "1"});
  }
  bool copy_equals() {
    Copy copy(fixture_, EnvironmentNumber(1),
              fixture_.path() + "/copy" + std::to_string(++copies_));
    copy.replay();
    Env env(path_, MDB_RDONLY);
    return explain(content_of(env.get()), copy.content()).empty();
  }
  control::Group& group() { return fixture_.group(); }
  control::EnvironmentEntry& entry() { return group().layout().environments[0]; }
  bool unlogged() { return group().incidents().find("HB-unlogged", entry().name).has_value(); }
  GroupFixture& fixture() { return fixture_; }
  const std::string& path() const { return path_; }

 private:
  GroupFixture fixture_;
  const unsigned flags_;
  const std::string path_;
  std::unique_ptr<control::Group> booted_;
  int copies_ = 0;
};

}  // namespace

TEST_CASE("after a power loss the last update is replayed before anybody opens, readers too") {
  Machine machine;
  REQUIRE(machine.put("a") == 0);
  const std::string before = machine.data_file();
  REQUIRE(machine.put("b") == 0);
  const UpdateNumber last = machine.group().made();
  machine.put_back(before);
  machine.reboot();
  // Its fate is open until then.
  CHECK(machine.group().published() < last);
  CHECK(machine.has("b"));
  CHECK(machine.group().published() == machine.group().made());
  CHECK_FALSE(machine.unlogged());
  CHECK(machine.entry().recovery_due.load() == 0);
  REQUIRE(machine.put("c") == 0);
  CHECK(machine.copy_equals());
}

TEST_CASE("an environment that lost nothing is level, and stays so after two reboots") {
  Machine machine;
  REQUIRE(machine.put("a") == 0);
  REQUIRE(machine.put("b") == 0);
  for (int i = 0; i < 2; ++i) {
    machine.reboot();
    CHECK(machine.has("b"));
    CHECK_FALSE(machine.unlogged());
  }
  REQUIRE(machine.put("c") == 0);
  CHECK(machine.copy_equals());
}

TEST_CASE("a second power loss in recovery is recovered like the first") {
  Machine machine;
  REQUIRE(machine.put("a") == 0);
  const std::string before = machine.data_file();
  REQUIRE(machine.put("b") == 0);
  for (int i = 0; i < 2; ++i) {
    machine.put_back(before);
    machine.reboot();
    if (i == 0) continue;  // nobody came before the second
    CHECK(machine.has("b"));
  }
  CHECK(machine.copy_equals());
}

TEST_CASE("the last commit that returned and the one in flight are both replayed, in order") {
  Machine machine;
  REQUIRE(machine.put("a") == 0);
  REQUIRE(machine.put("b", "old") == 0);
  const std::string before = machine.data_file();
  REQUIRE(machine.put("b", "1") == 0);
  REQUIRE(machine.put("c") == 0);
  machine.put_back(before);
  machine.reboot();
  CHECK(machine.has("b"));
  CHECK(machine.has("c"));
  CHECK_FALSE(machine.unlogged());
  CHECK(machine.copy_equals());
}

TEST_CASE("an update without operations that was missing stays, and the one after it is replayed") {
  Machine machine;
  REQUIRE(machine.put("a") == 0);
  const auto touch = [&] {
    Env env(machine.path());
    Txn txn(env);
    const MDB_dbi dups = txn.open("dups", MDB_CREATE | MDB_DUPSORT);
    const int rc = txn.put(dups, "k", "1", MDB_NODUPDATA);
    REQUIRE(txn.commit() == 0);
    return rc;
  };
  REQUIRE(touch() == 0);
  const std::string before = machine.data_file();
  REQUIRE(touch() == MDB_KEYEXIST);
  SUBCASE("as the last") {}
  SUBCASE("with another behind it") {
    REQUIRE(machine.put("b") == 0);
  }
  REQUIRE(machine.data_file() != before);
  const bool another = machine.has("b");
  machine.put_back(before);
  machine.reboot();
  CHECK(machine.has("b") == another);
  for (const auto& update : machine.fixture().updates()) CHECK_FALSE(update.is_void);
  REQUIRE(machine.put("c") == 0);
  CHECK_FALSE(machine.unlogged());
  CHECK(machine.copy_equals());
}

TEST_CASE("more missing than a power loss can take is never replayed: it is unlogged") {
  Machine machine;
  REQUIRE(machine.put("a") == 0);
  const std::string before = machine.data_file();
  REQUIRE(machine.put("b") == 0);
  REQUIRE(machine.put("c") == 0);
  REQUIRE(machine.put("d") == 0);
  machine.put_back(before);
  machine.reboot();
  CHECK_FALSE(machine.has("b"));
  CHECK_FALSE(machine.has("c"));
  CHECK(machine.unlogged());
  // It survives another reboot, and what is captured goes on from a new baseline.
  machine.reboot();
  CHECK(machine.put("e") == 0);
  CHECK(machine.unlogged());
  CHECK(machine.group().is_unlogged());
  REQUIRE(machine.group().mend_unlogged(machine.group().made()));
  CHECK_FALSE(machine.unlogged());
  machine.reboot();
  CHECK_FALSE(machine.group().is_unlogged());
}

TEST_CASE("a foreign write that reached the txnid of the last update is told by its items") {
  Machine machine;
  REQUIRE(machine.put("a") == 0);
  const std::string before = machine.data_file();
  REQUIRE(machine.put("b") == 0);
  machine.put_back(before);
  machine.put_uncaptured("foreign");
  machine.reboot();
  CHECK(machine.has("foreign"));
  CHECK(machine.unlogged());
}

TEST_CASE("what a program wrote without syncs is not replayed after a power loss") {
  Machine machine(MDB_NOSYNC);
  REQUIRE(machine.put("a") == 0);
  const std::string before = machine.data_file();
  REQUIRE(machine.put("b") == 0);
  REQUIRE(machine.group().journal().sync_through(machine.group().made()));
  machine.put_back(before);
  machine.reboot();
  CHECK_FALSE(machine.has("b"));
  CHECK(machine.unlogged());
}

TEST_CASE("an update made moments before its data file was lost makes it again") {
  Machine machine;
  REQUIRE(machine.put("a") == 0);
  std::remove((machine.path() + "/data.mdb").c_str());
  std::remove((machine.path() + "/lock.mdb").c_str());
  machine.reboot();
  CHECK(machine.has("a"));
  CHECK_FALSE(machine.unlogged());
}

TEST_CASE("a missing data file that held more is replaced, and the group goes on") {
  Machine machine;
  for (const char* key : {"a", "b", "c"}) REQUIRE(machine.put(key) == 0);
  std::remove((machine.path() + "/data.mdb").c_str());
  std::remove((machine.path() + "/lock.mdb").c_str());
  machine.reboot();
  const auto recovered = recovery::recover(machine.group(), machine.entry());
  REQUIRE(recovered);
  CHECK(recovered->outcome == recovery::Outcome::kReplaced);
  CHECK(machine.unlogged());
  CHECK(machine.group().published() == machine.group().made());
  REQUIRE(machine.put("d") == 0);
  CHECK(machine.has("d"));
}

TEST_CASE("a large update that was missing is replayed, whatever the map size was") {
  Machine machine;
  REQUIRE(machine.put("a") == 0);
  const std::string before = machine.data_file();
  {
    Env env(machine.path());
    Txn txn(env);
    const MDB_dbi users = txn.open("users");
    for (int i = 0; i < 300; ++i)
      REQUIRE(txn.put(users, "k" + std::to_string(i), std::string(30'000, 'v')) == 0);
    REQUIRE(txn.commit() == 0);
  }
  machine.put_back(before);
  machine.reboot();
  REQUIRE(machine.put("c") == 0);
  CHECK(machine.copy_equals());
}

TEST_CASE("of two updates with one txnid the earlier is voided after a reboot") {
  Machine machine;
  REQUIRE(machine.put("a") == 0);
  const std::string before = machine.data_file();
  REQUIRE(machine.put("b") == 0);
  const UpdateNumber never = machine.group().made();
  // LMDB failed this commit and its void word did not reach the disk; then "c" took its txnid.
  machine.put_back(before);
  machine.entry().last_txnid.fetch_sub(1);
  REQUIRE(machine.put("c") == 0);
  machine.reboot();
  CHECK(machine.has("c"));
  CHECK_FALSE(machine.has("b"));
  for (const auto& update : machine.fixture().updates())
    CHECK(update.is_void == (update.number == never));
  CHECK(machine.copy_equals());
}
