// SPDX-License-Identifier: Apache-2.0
#include "master/capture/exposure.h"

#include <algorithm>
#include <cerrno>
#include <exception>

#include "common/base/clock.h"

namespace hotbackup::capture {
namespace {

using control::AtLimit;
using control::Exposure;
using control::LimitKind;
using control::LossLimit;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr char kIncident[] = "HB-loss-limit";
// How long a wait without an end goes on before somebody is told of it.
constexpr std::chrono::seconds kToldAfter{5};
// What an acknowledgement takes in good times is not worth a word.
constexpr milliseconds kLong{200};
// Nobody wakes who waits for time to pass, or whose group is switched off.
constexpr milliseconds kSliceMax{200};

/// It cannot be within the limit together with any other: it waits for its own acknowledgement
/// instead of being refused.
bool outsizes(const LossLimit& limit, std::uint64_t bytes) {
  return (limit.kind == LimitKind::kUpdates && limit.amount == 0) ||
         (limit.kind == LimitKind::kBytes && bytes > limit.amount);
}

/// "0" waits whatever at_limit says: a limit that every update passes is no alarm.
bool waits(const LossLimit& limit) {
  return limit.at_limit != AtLimit::kAlarm ||
         (limit.kind == LimitKind::kUpdates && limit.amount == 0);
}

std::string exposed_text(const Exposure& exposure) {
  const std::uint64_t returned = exposure.returned();
  const std::uint64_t acknowledged = exposure.acknowledged();
  const std::uint64_t count = returned > acknowledged ? returned - acknowledged : 0;
  return human_count(count) + (count == 1 ? " update is" : " updates are") +
         " exposed, loss_limit is " + describe(exposure.limit());
}

void raise(control::Group& group, const std::string& text) {
  group.incidents().raise(kIncident, "", text);
}

/// Since when it waits, until when it may, and whether somebody was told.
struct Wait {
  Clock::time_point begun = Clock::now();
  bool told = false;
};

enum class Step { kEnough, kGiveUp, kLost, kSleep };

Step judge(const LossLimit& limit, control::Group& group, const Claim& claim, UpdateNumber number,
           Wait& wait, milliseconds& pause) {
  Exposure exposure = group.exposure();
  const control::Role role = group.role();
  if (limit.kind == LimitKind::kOff || role == control::Role::kNone) return Step::kEnough;
  if (exposure.needed(number.value, claim.bytes_through) <= exposure.acknowledged())
    return Step::kEnough;
  if (!waits(limit)) return Step::kGiveUp;
  if (role != control::Role::kMaster) return Step::kLost;
  const auto waited = Clock::now() - wait.begun;
  if (limit.wait_max.count() != 0 && waited >= limit.wait_max) return Step::kGiveUp;
  pause = kSliceMax;
  if (limit.wait_max.count() != 0)
    pause = std::min(pause, std::chrono::ceil<milliseconds>(limit.wait_max - waited));
  if (waited >= kLong) exposure.note_waiting();
  if (!wait.told && limit.wait_max.count() == 0 && waited >= kToldAfter) {
    wait.told = true;
    raise(group, "commits wait for an acknowledgement; " + exposed_text(exposure));
  }
  return Step::kSleep;
}

// A limit that changed meanwhile may have been read half old, half new.
Step look(control::Group& group, const Claim& claim, UpdateNumber number, Wait& wait,
          milliseconds& pause) {
  for (;;) {
    const LossLimit limit = group.exposure().limit();
    const Step step = judge(limit, group, claim, number, wait, pause);
    if (group.exposure().limit() == limit) return step;
  }
}

// It has happened here and is never said to have failed. That it is not safe is.
void tell_lost(control::Group& group, UpdateNumber number) {
  const std::string update = "update " + std::to_string(number.value);
  group.incidents().raise("HB-fenced", update,
                          update +
                              " was returned to its program without the acknowledgement that "
                              "loss_limit promises: another node was promoted while it waited. "
                              "Where that one does not have it, it becomes an orphan here");
}

void settle_waiting(control::Group& group, const Claim& claim, UpdateNumber number) {
  const control::Layout& layout = group.layout();
  Wait wait;
  for (;;) {
    const std::uint32_t ticket = layout.acknowledged_wake.load();
    milliseconds pause{};
    const Step step = look(group, claim, number, wait, pause);
    if (step == Step::kSleep) {
      os::futex_wait(layout.acknowledged_wake, ticket, pause);
      continue;
    }
    if (step == Step::kLost) tell_lost(group, number);
    Exposure exposure = group.exposure();
    const std::uint64_t needed = exposure.needed(number.value, claim.bytes_through);
    // Told once when the limit is passed, not with every commit; the master server tells again.
    if (exposure.note_returned(number.value, needed) && step == Step::kGiveUp)
      raise(group, (waits(exposure.limit()) ? "a commit returned unacknowledged after " +
                                                  human_duration(exposure.limit().wait_max) + "; "
                                            : std::string()) +
                       exposed_text(exposure));
    return;
  }
}

}  // namespace

Result<> admit(control::Group& group, std::uint64_t bytes, std::uint64_t controls, Claim& claim) {
  Exposure exposure = group.exposure();
  if (exposure.kind() == LimitKind::kOff) return {};
  claim.counts = true;
  claim.bytes = bytes;
  exposure.note_append(bytes);
  const LossLimit limit = exposure.limit();
  if (limit.at_limit != AtLimit::kRefuse) return {};
  const std::uint64_t acknowledged = exposure.acknowledged();
  const std::uint64_t made = group.made().value;
  bool fits = !exposure.passed();
  if (fits && !outsizes(limit, bytes) && acknowledged < made)
    fits = exposure.needed(made + controls + 1, exposure.bytes_through() + bytes) <= acknowledged;
  if (fits) return {};
  if (exposure.note_refused())
    raise(group, "commits are refused: " + human_count(made - std::min(made, acknowledged)) +
                     " updates are not acknowledged, loss_limit is " + describe(limit));
  return fail(ErrorCode::kBusy, "the group's loss limit is reached", EAGAIN);
}

void admitted(control::Group& group, Claim& claim) {
  if (!claim.counts) return;
  Exposure exposure = group.exposure();
  exposure.add_bytes(claim.bytes);
  claim.bytes_through = exposure.bytes_through();
}

void settle(control::Group& group, const Claim& claim, UpdateNumber number) noexcept {
  if (!claim.counts) return;
  try {
    settle_waiting(group, claim, number);
  } catch (const std::exception&) {  // no memory for an incident's words
  }
}

}  // namespace hotbackup::capture
