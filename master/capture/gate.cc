// SPDX-License-Identifier: Apache-2.0
#include "master/capture/gate.h"

#include <algorithm>
#include <cerrno>

#include "common/os/process.h"
#include "master/capture/real_lmdb.h"

namespace hotbackup::capture {
namespace {

using std::chrono::milliseconds;

// Nobody wakes who waits for a role to be lost.
constexpr milliseconds kSliceMax{100};

/// Write transactions that this thread holds, by group.
struct Held {
  const control::Group* group;
  unsigned count;
};
constexpr std::size_t kHeldMax = 8;  // groups at once; one beyond waits like any other
thread_local Held t_held[kHeldMax];

Held* held_of(const control::Group& group) {
  for (Held& held : t_held)
    if (held.group == &group) return &held;
  return nullptr;
}

bool holds_another(const control::Group& group) {
  const Held* held = held_of(group);
  return held != nullptr && held->count != 0;
}

void note_begin(const control::Group& group) {
  Held* held = held_of(group);
  if (held == nullptr)
    for (Held& free : t_held)
      if (free.count == 0) {
        held = &free;
        held->group = &group;
        break;
      }
  if (held != nullptr) ++held->count;
}

milliseconds until(std::int64_t boottime_ns) {
  const std::int64_t left = boottime_ns - os::boottime_ns();
  return left <= 0 ? milliseconds(0)
                   : std::chrono::ceil<milliseconds>(std::chrono::nanoseconds(left));
}

/// How long the gate stays closed, as far as is known now.
milliseconds closed_for(const control::Group& group) {
  const std::int64_t until_ns = group.layout().roles.gate_until_ns.load();
  if (until_ns == 0 || group.role() != control::Role::kMaster) return milliseconds(0);
  return until(until_ns);
}

void wait_for_gate(control::Group& group) {
  const control::RoleState& roles = group.layout().roles;
  for (;;) {
    const std::uint32_t ticket = roles.gate_wake.load();
    const milliseconds left = closed_for(group);
    if (left.count() == 0) return;
    os::futex_wait(roles.gate_wake, ticket, std::min(left, kSliceMax));
  }
}

}  // namespace

// The gate is asked again once LMDB's writer lock is held: who closes it takes that lock after
// having closed it, so that either he waits for this transaction, or this sees the gate closed.
int begin_through_gate(control::Group& group, MDB_env* env, unsigned flags, MDB_txn** txn) {
  for (;;) {
    const bool beside = holds_another(group);
    if (!beside) wait_for_gate(group);
    if (const int rc = real().txn_begin(env, nullptr, flags, txn); rc != 0) return rc;
    if (closed_for(group).count() == 0) break;
    if (beside) {
      group.layout().roles.gate_passed.fetch_add(1);
      break;
    }
    real().txn_abort(*txn);
  }
  note_begin(group);
  return 0;
}

void note_end(const control::Group& group) {
  if (Held* held = held_of(group); held != nullptr && held->count != 0) --held->count;
}

bool lease_holds(const control::Group& group) {
  const control::RoleState& roles = group.layout().roles;
  return roles.lease_ns.load() == 0 || roles.lease_until_ns.load() > os::boottime_ns();
}

int await_lease(control::Group& group) {
  const std::atomic<std::uint32_t>& word = group.layout().acknowledged_wake;
  for (;;) {
    const std::uint32_t ticket = word.load();
    if (group.layout().roles.lease_ns.load() == 0) return 0;
    if (group.role() != control::Role::kMaster) return EACCES;
    if (lease_holds(group)) return 0;
    os::futex_wait(word, ticket, kSliceMax);
  }
}

}  // namespace hotbackup::capture
