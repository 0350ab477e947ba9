// SPDX-License-Identifier: Apache-2.0
// The way back of a node that has updates which its new master does not have.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <random>

#include "common/orphan/orphan_set.h"
#include "master/fetch_source.h"
#include "slave/rejoiner.h"
#include "tests/support/applier_fixture.h"

using namespace hotbackup;
using namespace hotbackup::test;
using update::OperationKind;

namespace {

/// Calls that make something durable or visible, until the process dies in one; 0: never.
std::atomic<int> calls_left{0};

void step() {
  if (calls_left.load() != 0 && calls_left.fetch_sub(1) == 1) ::raise(SIGKILL);
}

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

// This binary's own: what is linked into it calls these.
extern "C" {
int fdatasync(int fd) {
  step();
  static const auto real = next<int (*)(int)>("fdatasync");
  return real(fd);
}
int fsync(int fd) {
  step();
  static const auto real = next<int (*)(int)>("fsync");
  return real(fd);
}
int unlinkat(int directory, const char* name, int flags) {
  step();
  static const auto real = next<int (*)(int, const char*, int)>("unlinkat");
  return real(directory, name, flags);
}
int renameat(int from, const char* a, int to, const char* b) {
  step();
  static const auto real = next<int (*)(int, const char*, int, const char*)>("renameat");
  return real(from, a, to, b);
}
int rename(const char* a, const char* b) {
  step();
  static const auto real = next<int (*)(const char*, const char*)>("rename");
  return real(a, b);
}
}

namespace {

constexpr int kEnvironments = 2;

/// Random updates of everything that an update can do.
class Load {
 public:
  explicit Load(unsigned seed) : random_(seed) {}

  void write(UpdateWriter& writer, int updates) {
    for (int i = 0; i < updates; ++i) {
      const auto environment = static_cast<std::uint32_t>(1 + random_() % kEnvironments);
      writer.append(environment, [&](const UpdateWriter::Add& add) {
        for (std::uint64_t n = 0; n <= random_() % 5; ++n) one(add);
      });
    }
  }

 private:
  std::string text(std::uint64_t most) { return std::to_string(random_() % most); }

  void one(const UpdateWriter::Add& add) {
    const std::string key = "k" + text(40);
    const std::string value = text(1000) + std::string(random_() % 300, 'v');
    const std::string name = "db" + text(4);
    const unsigned flags = name == "db3" ? MDB_DUPSORT : 0;
    switch (random_() % 14) {
      case 0:
        return add(operation(OperationKind::kDrop, named(name, flags)));
      case 1:
        return add(operation(OperationKind::kClear, named(name, flags)));
      case 2:
        return add(operation(OperationKind::kCreate, named("new" + text(3), 0)));
      case 3:  // dropped and made with other flags
        add(operation(OperationKind::kDrop, named("turn")));
        add(operation(OperationKind::kCreate, named("turn", random_() % 2 != 0 ? MDB_DUPSORT : 0)));
        return;
      case 4:
        return add(operation(OperationKind::kDeleteKey, named("db3", MDB_DUPSORT), "d" + text(3)));
      case 5:
        return add(operation(OperationKind::kDeletePair, named("db3", MDB_DUPSORT), "d" + text(3),
                             text(20)));
      case 6:
      case 7:
        return add(put(named("db3", MDB_DUPSORT), "d" + text(3), text(20)));
      case 8:
        return add(operation(OperationKind::kDeleteKey, main_database(), key));
      case 9:
        return add(put(main_database(), key, value));
      case 10:
        if (random_() % 20 == 0) return add(operation(OperationKind::kClear, main_database()));
        return add(put(main_database(), key, value));
      case 11:
        return large(add, key);
      default:
        return add(random_() % 3 == 0
                       ? operation(OperationKind::kDeleteKey, named(name, flags), key)
                       : put(named(name, flags), key, value));
    }
  }

  void large(const UpdateWriter::Add& add, const std::string& key) {
    const std::string value(update::kValuePartBytes + 5000,
                            static_cast<char>('a' + random_() % 26));
    update::Operation first{OperationKind::kPutLarge, named("db0"), key, {}, value.size()};
    add(first);
    for (std::size_t at = 0; at < value.size(); at += update::kValuePartBytes)
      add(operation(OperationKind::kValuePart, named("db0"), {},
                    std::string_view(value).substr(at, update::kValuePartBytes)));
  }

  std::mt19937_64 random_;
};

/// Two nodes with one history, of which the second gets a newer epoch.
struct Pair {
  Pair() {
    for (ApplierFixture* side : {&back, &master}) {
      side->writer().epoch();
      for (int n = 1; n <= kEnvironments; ++n)
        side->writer().environment(environment_body(n, "zones" + std::to_string(n)));
    }
  }
  void common_load(unsigned seed, int updates) {
    Load(seed).write(back.writer(), updates);
    Load(seed).write(master.writer(), updates);
    common = master.group().made();
  }
  /// Both apply what they have.
  void apply() {
    for (ApplierFixture* side : {&back, &master}) {
      side->start();
      side->apply_all();
      side->stop();
    }
  }
  Position common_position() {
    return *journal::position_at(master.group().journal_directory(), test_group(), common);
  }

  ApplierFixture back;
  ApplierFixture master;
  UpdateNumber common;
};

struct Moved {
  std::uint64_t bytes = 0;
  std::uint64_t orphans = 0;
};

/// As over a link, up to the moment when it is closed.
Moved rejoin(ApplierFixture& back, ApplierFixture& master, const Position& common) {
  slave::Rejoiner rejoiner(back.group(), back.copies());
  const auto begun = rejoiner.begin(common, "lyon");
  if (!begun) FAIL(begun.error().text());
  master.group().layout().servers[1].stopped_ns.store(1);  // its copies are level
  auto source = master::FetchSource::cut(master.group());
  if (!source) FAIL(source.error().text());
  Moved moved;
  for (;;) {
    const auto request = rejoiner.next_request();
    REQUIRE(request);
    if (!*request) break;
    moved.bytes += (*request)->body.size();
    REQUIRE((*source)->want((*request)->environment, (*request)->body));
    std::string body;
    for (auto more = (*source)->next(body); more && *more; more = (*source)->next(body)) {
      moved.bytes += body.size();
      REQUIRE(rejoiner.part((*request)->environment, body));
    }
    REQUIRE(rejoiner.answered((*source)->position()));
  }
  moved.orphans = rejoiner.orphans();
  const auto finished = rejoiner.finish();
  if (!finished) FAIL(finished.error().text());
  return moved;
}

/// The stream, from where the journal of the slave ends.
void stream(ApplierFixture& back, ApplierFixture& master) {
  journal::Reader reader(master.group().journal_directory(), test_group());
  REQUIRE(reader.seek(back.group().made().next()));
  auto lock = back.group().journal().lock();
  REQUIRE(lock);
  while (true) {
    const auto frame = reader.next(master.group().made());
    REQUIRE(frame);
    if (!*frame) break;
    REQUIRE(back.group().journal().append_received(*lock, **frame));
  }
}

void check_equal(Pair& pair) {
  CHECK(pair.back.group().made() == pair.master.group().made());
  for (int n = 1; n <= kEnvironments; ++n)
    CHECK(pair.back.content_of(n) == pair.master.content_of(n));
  const auto pending = slave::read_rejoin(pair.back.group().directory());
  REQUIRE(pending);
  CHECK_FALSE(*pending);
}

void catch_up(Pair& pair) {
  stream(pair.back, pair.master);
  pair.back.start();
  if (pair.back.applier().applied() < pair.back.group().made()) pair.back.apply_all();
  pair.back.stop();
}

std::uint64_t orphans_in(control::Group& group) {
  const auto sets = orphan::list(group.directory());
  REQUIRE(sets);
  std::uint64_t found = 0;
  for (const orphan::Set& set : *sets)
    REQUIRE(orphan::for_each_frame(group.directory(), group.id(), set, [&](const auto& frame) {
      if (frame.header.last_part && orphan::is_orphan(frame.header)) ++found;
      return Result<>();
    }));
  return found;
}

}  // namespace

TEST_CASE("after a rejoin both copies are equal, whatever both sides had written") {
  for (unsigned seed = 1; seed <= 25; ++seed) {
    CAPTURE(seed);
    Pair pair;
    pair.common_load(seed, 60);
    Load(1000 + seed).write(pair.back.writer(), 20);
    pair.master.writer().begin_epoch({2, NodeId(2)});
    Load(2000 + seed).write(pair.master.writer(), 30);
    pair.apply();
    const Moved moved = rejoin(pair.back, pair.master, pair.common_position());
    CHECK(moved.orphans == 20);
    CHECK(pair.back.group().made() == pair.common);
    CHECK(orphans_in(pair.back.group()) == 20);
    catch_up(pair);
    check_equal(pair);
  }
}

TEST_CASE("a rejoin moves what was touched, not the database") {
  Pair pair;
  const auto fill = [](UpdateWriter& writer) {
    writer.append(1, [](const UpdateWriter::Add& add) {
      for (int i = 0; i < 20'000; ++i)
        add(put(named("many"), "key" + std::to_string(i), std::string(100, 'v')));
    });
  };
  fill(pair.back.writer());
  fill(pair.master.writer());
  pair.common = pair.master.group().made();
  for (int i = 0; i < 50; ++i)
    pair.back.writer().append(
        1, {put(named("many"), "key" + std::to_string(i * 7), "only on the fenced side")});
  pair.master.writer().begin_epoch({2, NodeId(2)});
  pair.apply();
  const Moved moved = rejoin(pair.back, pair.master, pair.common_position());
  CHECK(moved.orphans == 50);
  CHECK(moved.bytes < 50 * 200);
  catch_up(pair);
  check_equal(pair);
}

TEST_CASE("readers of the copies see the rejoin as one step, once the journal has what it needs") {
  Pair pair;
  pair.common_load(5, 10);
  pair.back.writer().append(1, {put(named("db1"), "orphan", "1")});
  pair.master.writer().begin_epoch({2, NodeId(2)});
  Load(6).write(pair.master.writer(), 10);
  pair.apply();
  const std::string before = pair.back.content_of(1);
  rejoin(pair.back, pair.master, pair.common_position());
  CHECK(pair.back.group().layout().applied.load() == pair.common.value);
  // All but the last update that the fetched items show.
  const UpdateNumber all = pair.master.group().made();
  {
    journal::Reader reader(pair.master.group().journal_directory(), test_group());
    REQUIRE(reader.seek(pair.common.next()));
    auto lock = pair.back.group().journal().lock();
    for (auto frame = reader.next(all.previous()); frame && *frame;
         frame = reader.next(all.previous()))
      REQUIRE(pair.back.group().journal().append_received(*lock, **frame));
  }
  pair.back.start();
  pair.back.wake();
  CHECK_FALSE(comes_true([&] { return pair.back.applier().applied() > pair.common; },
                         std::chrono::seconds(1)));
  pair.back.stop();
  CHECK(pair.back.content_of(1) == before);
  catch_up(pair);
  check_equal(pair);
}

TEST_CASE("a rejoin that another master interrupts undoes what both left") {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    Pair pair;
    ApplierFixture third;
    third.writer().epoch();
    for (int n = 1; n <= kEnvironments; ++n)
      third.writer().environment(environment_body(n, "zones" + std::to_string(n)));
    pair.common_load(seed, 30);
    Load(seed).write(third.writer(), 20);  // it lacks the end of what those two have
    const UpdateNumber earlier = third.group().made();
    Load(100 + seed).write(pair.back.writer(), 10);
    pair.master.writer().begin_epoch({2, NodeId(2)});
    Load(200 + seed).write(pair.master.writer(), 10);
    pair.apply();
    rejoin(pair.back, pair.master, pair.common_position());
    stream(pair.back, pair.master);
    if (seed % 2 == 0) {  // also applied before the next master comes
      pair.back.start();
      pair.back.apply_all();
      pair.back.stop();
    }
    pair.back.restart();
    third.writer().begin_epoch({3, NodeId(3)});
    Load(300 + seed).write(third.writer(), 10);
    third.start();
    third.apply_all();
    third.stop();
    rejoin(pair.back, third,
           *journal::position_at(third.group().journal_directory(), test_group(), earlier));
    stream(pair.back, third);
    pair.back.start();
    pair.back.apply_all();
    pair.back.stop();
    for (int n = 1; n <= kEnvironments; ++n) CHECK(pair.back.content_of(n) == third.content_of(n));
    CHECK(orphan::list(pair.back.group().directory())->size() == 2);
  }
}

TEST_CASE("a rejoin killed at any step is done when it is begun again") {
  int step_count = 0;
  for (int kill_at = 1;; ++kill_at) {
    CAPTURE(kill_at);
    Pair pair;
    pair.common_load(9, 20);
    Load(10).write(pair.back.writer(), 5);
    pair.master.writer().begin_epoch({2, NodeId(2)});
    Load(11).write(pair.master.writer(), 5);
    pair.apply();
    const Position common = pair.common_position();
    const pid_t child = ::fork();
    if (child == 0) {
      calls_left.store(kill_at);
      rejoin(pair.back, pair.master, common);
      stream(pair.back, pair.master);
      pair.back.start();
      pair.back.apply_all();
      pair.back.stop();
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    const bool survived = WIFEXITED(status);
    if (survived) REQUIRE(WEXITSTATUS(status) == 0);
    pair.back.restart();
    pair.master.restart();
    REQUIRE(slave::Rejoiner::resume(pair.back.group()));
    { REQUIRE(pair.back.group().journal().lock()); }
    // As the next link finds it: on the master's history, or not yet.
    const auto here = journal::position_at(pair.back.group().journal_directory(), test_group(),
                                           pair.back.group().made());
    const auto there = journal::position_at(pair.master.group().journal_directory(), test_group(),
                                            pair.back.group().made());
    REQUIRE(here);
    if (!there || there->chain != here->chain) rejoin(pair.back, pair.master, common);
    catch_up(pair);
    check_equal(pair);
    CHECK(orphans_in(pair.back.group()) == 5);
    step_count = kill_at;
    if (survived) break;
  }
  CHECK(step_count > 30);
}
