// SPDX-License-Identifier: Apache-2.0
#include "slave/apply_machine.h"

#include <doctest/doctest.h>

using namespace hotbackup;
using slave::AppliedRange;
using slave::ApplyMachine;

namespace {

journal::FrameHeader update(std::uint64_t number) {
  journal::FrameHeader header;
  header.number = UpdateNumber(number);
  header.update_bytes = 200;
  return header;
}

void take(ApplyMachine& machine, std::uint64_t from, std::uint64_t through) {
  for (std::uint64_t n = from; n <= through; ++n) {
    machine.at_frame(UpdateNumber(n));
    REQUIRE(machine.take(update(n)) == ApplyMachine::Take::kApply);
    machine.taken(update(n), 200);
  }
}

}  // namespace

TEST_CASE(
    "what is not believed any more is done again from the applied file, through what was seen") {
  ApplyMachine machine({});
  REQUIRE(machine.resume(AppliedRange{UpdateNumber(10), UpdateNumber(10)}, UpdateNumber(10),
                         UpdateNumber(1)));
  machine.extended({UpdateNumber(10), UpdateNumber(100)});
  machine.begin_batch();
  take(machine, 11, 20);
  REQUIRE(machine.committed() == UpdateNumber(20));
  machine.begin_batch();
  take(machine, 21, 25);  // this batch's commit fails: some environments may show it
  machine.redo();
  CHECK(machine.done() == UpdateNumber(10));
  CHECK(machine.range().lower == UpdateNumber(10));
  CHECK_FALSE(machine.settled());
  CHECK(machine.begin_batch() == UpdateNumber(11));
  take(machine, 11, 24);
  CHECK_FALSE(machine.may_end_here());
  CHECK_FALSE(machine.before_update(update(25), 1 << 30).commit);
  take(machine, 25, 25);
  CHECK(machine.may_end_here());
  CHECK(machine.committed() == UpdateNumber(25));
  CHECK(machine.settled());
}

TEST_CASE("a skipped update counts as taken and is never applied, whatever its kind") {
  ApplyMachine machine({});
  REQUIRE(machine.resume(std::nullopt, UpdateNumber(0), UpdateNumber(0)));
  machine.skip({UpdateNumber(2)});
  machine.extended({UpdateNumber(0), UpdateNumber(100)});
  machine.begin_batch();
  take(machine, 1, 1);
  journal::FrameHeader environment = update(2);
  environment.kind = journal::FrameKind::kEnvironment;
  CHECK(machine.take(environment) == ApplyMachine::Take::kSkip);
  CHECK(machine.take(update(2)) == ApplyMachine::Take::kSkip);
  machine.taken(update(2), 200);
  take(machine, 3, 3);
  CHECK(machine.committed() == UpdateNumber(3));
}
