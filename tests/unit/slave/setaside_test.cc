// SPDX-License-Identifier: Apache-2.0
// Updates that cannot be applied, and what people decide about applying.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>

#include "common/control/apply_decisions.h"
#include "slave/setaside.h"
#include "tests/support/applier_fixture.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

/// Update 4 is poison: its second operation has a key that LMDB does not take.
void begin_poisoned(UpdateWriter& writer) {
  writer.epoch();
  writer.environment(environment_body(1, "env1"));
  writer.append(1, {put(main_database(), "a", "1")});
  writer.append(1, {put(main_database(), "first", "1"),
                    put(named("n"), std::string(600, 'k'), "key too long for LMDB")});
  writer.append(1, {put(main_database(), "b", "1")});
}

bool stops(ApplierFixture& f) {
  f.wake();
  return comes_true([&] { return !f.applier().working(); });
}

/// As a command: writes the decision and waits for the applier's answer.
void decide(ApplierFixture& f, const std::function<void(control::ApplyDecisions&)>& change) {
  REQUIRE(control::change_apply_decisions(f.group(), change));
  const std::uint32_t request = control::request_apply(f.group());
  REQUIRE(comes_true([&] { return f.group().layout().apply_answered.load() >= request; }));
}

std::optional<UpdateNumber> waiting(ApplierFixture& f) {
  const auto decisions = control::read_apply_decisions(f.group().directory());
  REQUIRE(decisions);
  const auto number = control::waiting_set_aside(f.group(), *decisions);
  REQUIRE(number);
  return *number;
}

control::ApplyState state_of(ApplierFixture& f) {
  return static_cast<control::ApplyState>(f.group().layout().apply_state.load());
}

}  // namespace

TEST_CASE("an update that cannot be applied is set aside whole, with a description") {
  ApplierFixture f;
  f.start();
  begin_poisoned(f.writer());
  REQUIRE(stops(f));
  CHECK(f.applier().applied().value == 3);
  CHECK(state_of(f) == control::ApplyState::kStopped);
  CHECK(f.group().layout().apply_stopped_at.load() == 4);
  CHECK(waiting(f) == UpdateNumber(4));
  const auto text = os::read_file(f.directory() + "/setaside/4.txt");
  REQUIRE(text);
  CHECK(text->find("update      4\n") != std::string::npos);
  CHECK(text->find("environment env1\n") != std::string::npos);
  CHECK(text->find("database    n\n") != std::string::npos);
  CHECK(text->find("key         kkkk") != std::string::npos);
  CHECK(text->find("MDB_BAD_VALSIZE") != std::string::npos);
  const auto frames = os::read_file(f.directory() + "/setaside/4.frames");
  REQUIRE(frames);
  const auto header = journal::decode(frames->substr(0, journal::kFrameHeaderBytes));
  REQUIRE(header);
  CHECK(header->number.value == 4);
  CHECK(header->update_bytes == frames->size());
  f.stop();
  CHECK(f.content_of(1) == "main: a=1");
}

TEST_CASE(
    "what stops applying is durable: a restart tries once more and never shows later updates") {
  ApplierFixture f;
  f.start();
  begin_poisoned(f.writer());
  REQUIRE(stops(f));
  const auto range = *slave::read_applied(f.group());
  REQUIRE(range);
  CHECK(*range == slave::AppliedRange{UpdateNumber(3), UpdateNumber(3)});
  f.stop();
  f.restart();
  f.start();
  REQUIRE(stops(f));
  CHECK(f.applier().applied().value == 3);
  CHECK(waiting(f) == UpdateNumber(4));
  f.stop();
  CHECK(f.content_of(1) == "main: a=1");
}

TEST_CASE("retry tries again, and an update that can be applied now leaves no trace in setaside") {
  ApplierFixture f;
  // The place of the second environment is taken.
  REQUIRE(os::make_directories(f.directory() + "/copies", {}));
  {
    auto other = open_environment(f.directory() + "/copies/env2");
    lmdb::DatabaseHandles handles;
    auto txn = lmdb::Transaction::begin(other, false);
    REQUIRE(lmdb::OperationApplier(handles).apply(*txn, put(main_database(), "mine", "1")));
    REQUIRE(txn->commit());
  }
  f.writer().epoch();
  f.writer().environment(environment_body(1, "env1"));
  f.writer().environment(environment_body(2, "env2"));
  f.writer().append(1, {put(main_database(), "a", "1")});
  f.start();
  REQUIRE(stops(f));
  CHECK(waiting(f) == UpdateNumber(3));
  decide(f, [](auto&) {});
  REQUIRE(comes_true([&] { return !f.applier().working(); }));
  CHECK(waiting(f) == UpdateNumber(3));
  CHECK(f.group().incidents().find("HB-apply-failed")->count == 2);

  std::filesystem::rename(f.directory() + "/copies/env2", f.directory() + "/elsewhere");
  decide(f, [](auto&) {});
  REQUIRE(comes_true([&] { return f.applier().applied() == f.group().made(); }));
  CHECK(f.applier().working());
  CHECK_FALSE(waiting(f));
  CHECK(f.group().incidents().open().empty());
  CHECK_FALSE(std::filesystem::exists(f.directory() + "/setaside/3.frames"));
  f.stop();
  CHECK(f.content_of(1) == "main: a=1");
}

TEST_CASE("skip leaves out the whole update, for good, and keeps it") {
  ApplierFixture f;
  f.start();
  begin_poisoned(f.writer());
  REQUIRE(stops(f));
  decide(f, [](control::ApplyDecisions& decisions) {
    decisions.skipped.insert(UpdateNumber(4));
    decisions.differs = "update 4 was skipped";
  });
  REQUIRE(comes_true([&] { return f.applier().applied() == f.group().made(); }));
  CHECK_FALSE(f.group().incidents().find("HB-apply-failed"));
  CHECK_FALSE(waiting(f));
  CHECK(std::filesystem::exists(f.directory() + "/setaside/4.frames"));
  f.stop();
  CHECK(f.content_of(1) == "main: a=1 b=1");
  // As after a kill: the whole range is done again, still without it.
  REQUIRE(slave::write_applied(f.group(), {UpdateNumber(1), UpdateNumber(100)}));
  f.restart();
  f.start();
  f.apply_all();
  f.stop();
  CHECK(f.content_of(1) == "main: a=1 b=1");
}

TEST_CASE("pause holds over a restart, receiving goes on, and resume applies what came meanwhile") {
  ApplierFixture f;
  f.start();
  f.writer().epoch();
  f.writer().environment(environment_body(1, "env1"));
  f.writer().append(1, {put(main_database(), "a", "1")});
  f.apply_all();
  decide(f, [](control::ApplyDecisions& decisions) { decisions.paused = true; });
  CHECK(state_of(f) == control::ApplyState::kPaused);
  f.writer().append(1, {put(main_database(), "b", "1")});
  f.wake();
  f.stop();
  f.restart();
  f.start();
  f.wake();
  // The answer to a request shows that the applier has run its loop with the update in sight.
  decide(f, [](auto&) {});
  CHECK(state_of(f) == control::ApplyState::kPaused);
  CHECK(f.applier().applied().value == 3);
  CHECK(f.group().synced().value == 4);
  decide(f, [](control::ApplyDecisions& decisions) { decisions.paused = false; });
  REQUIRE(comes_true([&] { return f.applier().applied().value == 4; }));
  CHECK(state_of(f) == control::ApplyState::kRunning);
  f.stop();
  CHECK(f.content_of(1) == "main: a=1 b=1");
}

TEST_CASE("configured as paused it waits for the first resume, which then counts") {
  slave::ApplierLimits limits;
  limits.paused_at_first = true;
  ApplierFixture f(limits);
  f.writer().epoch();
  f.writer().sync();
  f.start();
  decide(f, [](auto&) {});
  CHECK(f.applier().applied().value == 0);
  decide(f, [](control::ApplyDecisions& decisions) { decisions.paused = false; });
  REQUIRE(comes_true([&] { return f.applier().applied().value == 1; }));
  f.stop();
  f.restart();
  f.writer().environment(environment_body(1, "env1"));
  f.start();
  f.apply_all();
  CHECK(f.applier().applied().value == 2);
}

TEST_CASE("a seed ends all doubts but a pause") {
  ApplierFixture f;
  f.start();
  begin_poisoned(f.writer());
  REQUIRE(stops(f));
  f.stop();
  REQUIRE(control::change_apply_decisions(f.group(), [](control::ApplyDecisions& decisions) {
    decisions.paused = true;
    decisions.skipped.insert(UpdateNumber(2));
    decisions.differs = "since long";
  }));
  f.group().incidents().raise("HB-copy-written", "env1", "by somebody");
  REQUIRE(slave::forget_doubts(f.group()));
  const auto decisions = control::read_apply_decisions(f.group().directory());
  REQUIRE(decisions);
  CHECK(decisions->paused == true);
  CHECK(decisions->skipped.empty());
  CHECK(decisions->differs.empty());
  CHECK_FALSE(waiting(f));
  CHECK(f.group().incidents().open().empty());
}

TEST_CASE("that a copy differs is known after a reboot") {
  ApplierFixture f;
  REQUIRE(control::change_apply_decisions(f.group(), [](control::ApplyDecisions& decisions) {
    decisions.differs = "update 4 was skipped by ann:\nsecond line";
  }));
  REQUIRE(::unlink((f.directory() + "/control").c_str()) == 0);
  f.restart();
  const auto incident = f.group().incidents().find("HB-copy-differs");
  REQUIRE(incident);
  CHECK(incident->text == "update 4 was skipped by ann: second line");
}

TEST_CASE("a damaged file of decisions is refused, not guessed at") {
  ApplierFixture f;
  REQUIRE(control::change_apply_decisions(
      f.group(), [](control::ApplyDecisions& decisions) { decisions.paused = true; }));
  auto text = os::read_file(f.directory() + "/applying");
  REQUIRE(text);
  const std::size_t at = text->find("yes");
  REQUIRE(at != std::string::npos);
  REQUIRE(os::replace_file(f.directory() + "/applying", text->replace(at, 3, "no"), {}));
  const auto decisions = control::read_apply_decisions(f.directory());
  REQUIRE_FALSE(decisions);
  CHECK(decisions.error().code() == ErrorCode::kCorrupt);
  CHECK_FALSE(f.applier().start());
}
