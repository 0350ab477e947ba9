// SPDX-License-Identifier: Apache-2.0
#include "common/control/exposure.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <deque>
#include <random>
#include <thread>

#include "common/control/group.h"
#include "tests/support/journal_fixture.h"

using namespace hotbackup;
using namespace hotbackup::control;
using std::chrono::milliseconds;

namespace {

/// A master's group with three peers in its table, of which the tests say who counts.
class LimitedGroup {
 public:
  explicit LimitedGroup(const LossLimit& limit = {},
                        std::vector<std::string> peers = {"lyon", "nice", "metz"}) {
    REQUIRE(::mkdir((directory_ / "journal").c_str(), 0755) == 0);
    GroupRecord record;
    record.id = test::test_group();
    record.name = "dns";
    record.node_name = "paris";
    record.node = NodeId(7);
    record.role = Role::kMaster;
    record.segment_bytes = 1 << 20;
    record.peers = {"lyon", "nice", "metz"};
    record.limit = limit;
    REQUIRE(write_group_file(directory_.path(), record));
    reopen();
    REQUIRE(group_->set_loss_limit(limit, peers));
  }
  void reopen() { group_ = *Group::open(directory_.path()); }
  void forget_control_file() {
    group_.reset();
    REQUIRE(::unlink((directory_ / "control").c_str()) == 0);
    reopen();
  }
  Group& group() { return *group_; }
  Exposure exposure() { return group_->exposure(); }

  /// As capture appends one update of about this size.
  std::uint64_t append(std::size_t body_bytes = 10) {
    journal::PendingUpdate update(group_->journal_directory());
    update.body().append(body_bytes, 'b');
    REQUIRE(update.prepare());
    auto lock = group_->journal().lock();
    const std::uint64_t bytes = update.total_bytes();
    exposure().note_append(bytes);
    const auto appended = group_->journal().append(*lock, update, {});
    REQUIRE(appended);
    exposure().add_bytes(bytes);
    last_bytes_ = bytes;
    return appended->number.value;
  }
  std::uint64_t last_bytes() const { return last_bytes_; }
  std::uint64_t needed(std::uint64_t number) {
    return exposure().needed(number, exposure().bytes_through());
  }
  void acknowledge(std::string_view peer, std::uint64_t journaled, std::uint64_t applied) {
    group_->peer(peer)->journaled.store(journaled);
    group_->peer(peer)->applied.store(applied);
    group_->note_acknowledged();
  }
  void acknowledge(std::uint64_t number) { acknowledge("lyon", number, number); }

 private:
  test::TemporaryDirectory directory_;
  std::unique_ptr<Group> group_;
  std::uint64_t last_bytes_ = 0;
};

LossLimit updates(std::uint64_t amount) {
  LossLimit limit;
  limit.kind = LimitKind::kUpdates;
  limit.amount = amount;
  return limit;
}
LossLimit bytes(std::uint64_t amount) {
  LossLimit limit;
  limit.kind = LimitKind::kBytes;
  limit.amount = amount;
  return limit;
}
LossLimit time(std::chrono::nanoseconds amount) {
  LossLimit limit;
  limit.kind = LimitKind::kTime;
  limit.amount = static_cast<std::uint64_t>(amount.count());
  return limit;
}

}  // namespace

TEST_CASE("a group file keeps the loss limit, and one without a limit has none") {
  test::TemporaryDirectory directory;
  GroupRecord record;
  record.limit = {LimitKind::kBytes, 5'000'000, AtLimit::kRefuse, milliseconds(1500), true, 2};
  REQUIRE(write_group_file(directory.path(), record));
  CHECK(read_group_file(directory.path())->limit == record.limit);
  auto text = *os::read_file(directory / "group.toml");
  text = text.substr(0, text.find("[loss_limit]"));
  REQUIRE(os::replace_file(directory / "group.toml", text, {}));
  CHECK(read_group_file(directory.path())->limit == LossLimit{});
}

TEST_CASE("acknowledged is what as many configured peers as wanted have, at the wanted level") {
  LimitedGroup group(updates(10), {"lyon", "metz"});
  for (int i = 0; i < 9; ++i) group.append();
  group.acknowledge("lyon", 5, 3);
  group.acknowledge("metz", 4, 4);
  group.acknowledge("nice", 9, 9);  // not configured any more
  const auto with = [&](std::uint32_t peers, bool applied) {
    LossLimit limit = updates(10);
    limit.peers = peers;
    limit.applied = applied;
    REQUIRE(group.group().set_loss_limit(limit, {"lyon", "metz"}));
    return group.exposure().acknowledged();
  };
  CHECK(with(1, false) == 5);
  CHECK(with(1, true) == 4);
  CHECK(with(0, false) == 4);
  CHECK(with(2, false) == 4);
  CHECK(with(0, true) == 3);
  CHECK(with(3, false) == 0);
}

TEST_CASE("a slave that lost its copy has acknowledged nothing") {
  LimitedGroup group(updates(2), {"lyon"});
  group.append();
  group.acknowledge(1);
  CHECK(group.exposure().acknowledged() == 1);
  group.acknowledge(0);
  CHECK(group.exposure().acknowledged() == 0);
}

TEST_CASE("by updates a number needs the one before it by the limit") {
  LimitedGroup group(updates(3));
  CHECK(group.exposure().needed(3, 0) == 0);
  CHECK(group.exposure().needed(4, 0) == 1);
  CHECK(group.exposure().needed(1000, 0) == 997);
  LimitedGroup zero(updates(0));
  CHECK(zero.exposure().needed(7, 0) == 7);
  LimitedGroup off;
  CHECK(off.exposure().needed(7, 0) == 0);
}

TEST_CASE("by bytes the exposed updates fit the limit, and miss it by at most its 64th part") {
  constexpr std::uint64_t kLimit = 200'000;
  LimitedGroup group(bytes(kLimit));
  std::mt19937 random(7);
  std::deque<std::uint64_t> sizes;  // of updates 1, 2 …
  for (int i = 0; i < 3000; ++i) {
    const bool large = random() % 50 == 0;
    const std::uint64_t number = group.append(large ? random() % 250'000 : random() % 900);
    sizes.push_back(group.last_bytes());
    const std::uint64_t needed = group.needed(number);
    REQUIRE(needed <= number);
    std::uint64_t exposed = 0;
    for (std::uint64_t n = needed; n < number; ++n) exposed += sizes[n];
    REQUIRE(exposed <= kLimit);
    // One update more would not fit, or nearly so.
    if (needed > 0) CHECK(exposed + sizes[needed - 1] + kLimit / 64 + 1 >= kLimit);
    if (sizes.back() > kLimit) CHECK(needed == number);
  }
}

TEST_CASE("by time the oldest exposed update counts") {
  LimitedGroup group(time(std::chrono::hours(1)));
  for (int i = 0; i < 5; ++i) group.append();
  CHECK(group.needed(5) == 0);
  LimitedGroup quick(time(milliseconds(60)));
  const auto begun = std::chrono::steady_clock::now();
  const std::uint64_t old = quick.append();
  CHECK(quick.needed(old) == 0);
  while (quick.needed(old) != old) {
    REQUIRE(std::chrono::steady_clock::now() - begun < std::chrono::seconds(10));
    std::this_thread::yield();
  }
  CHECK(std::chrono::steady_clock::now() - begun >= milliseconds(58));
  // What comes now is young: only the old one is due.
  const std::uint64_t young = quick.append();
  CHECK(quick.needed(young) <= young);
  CHECK(quick.needed(young) >= old);
  quick.acknowledge(old);
  CHECK(quick.exposure().acknowledged() >= old);
}

TEST_CASE("time passes the limit without any commit") {
  LimitedGroup group(time(milliseconds(30)));
  const std::uint64_t number = group.append();
  CHECK_FALSE(group.exposure().note_returned(number, 0));
  while (!group.exposure().passed()) std::this_thread::yield();  // the case has a time limit
  group.acknowledge(number);
  CHECK_FALSE(group.exposure().passed());
}

TEST_CASE("what is returned beyond the limit passes it until it is acknowledged") {
  LimitedGroup group(updates(2));
  for (int i = 0; i < 5; ++i) group.append();
  CHECK_FALSE(group.exposure().note_returned(2, group.needed(2)));
  CHECK_FALSE(group.exposure().passed());
  CHECK(group.exposure().note_returned(3, group.needed(3)));
  CHECK(group.exposure().passed());
  CHECK_FALSE(group.exposure().note_returned(4, group.needed(4)));  // told already
  CHECK(group.exposure().returned() == 4);
  group.acknowledge(1);
  CHECK(group.exposure().passed());
  group.acknowledge(2);
  CHECK_FALSE(group.exposure().passed());
}

TEST_CASE("a limit that is put in force counts what was there before") {
  LimitedGroup group;
  for (int i = 0; i < 5; ++i) group.append();
  CHECK(group.exposure().returned() == 0);
  REQUIRE(group.group().set_loss_limit(updates(5), {"lyon"}));
  CHECK(group.exposure().returned() == 5);
  CHECK_FALSE(group.exposure().passed());
  REQUIRE(group.group().set_loss_limit(updates(4), {"lyon"}));
  CHECK(group.exposure().passed());
  REQUIRE(group.group().set_loss_limit(LossLimit{}, {"lyon"}));
  CHECK_FALSE(group.exposure().passed());
}

TEST_CASE("after a reboot the limit holds at once, from what is known to be acknowledged") {
  LossLimit limit = updates(4);
  limit.at_limit = AtLimit::kRefuse;
  LimitedGroup group(limit, {"lyon", "nice", "metz"});
  for (int i = 0; i < 10; ++i) group.append();
  group.acknowledge("lyon", 8, 7);
  REQUIRE(group.group().keep_peer_numbers());
  group.acknowledge("lyon", 9, 9);  // not noted any more
  group.forget_control_file();
  CHECK(group.exposure().limit() == limit);
  CHECK(group.exposure().acknowledged() == 8);
  CHECK(group.exposure().returned() == 10);
  CHECK_FALSE(group.exposure().refuses());
  group.append();
  group.append();
  CHECK(group.exposure().refuses());
  group.acknowledge("lyon", 12, 12);
  CHECK_FALSE(group.exposure().refuses());
}

TEST_CASE("damaged or foreign peer numbers say nothing") {
  LimitedGroup group(updates(4));
  for (int i = 0; i < 10; ++i) group.append();
  group.acknowledge(8);
  REQUIRE(group.group().keep_peer_numbers());
  const std::string path = group.group().directory() + "/peer_numbers";
  auto text = *os::read_file(path);
  text[text.find(" 8 ") + 1] = '9';
  REQUIRE(os::replace_file(path, text, {}));
  group.forget_control_file();
  CHECK(group.exposure().acknowledged() == 0);
  CHECK(group.exposure().passed());
}
