// SPDX-License-Identifier: Apache-2.0
// What this process knows as a whole: its captured environments, the groups they belong to, and
// whether it is a fork of the process that opened them. Everything here is made when the first
// environment of a group is opened and never destroyed: other threads may still run at exit.
#pragma once

#include <lmdb.h>

#include <atomic>
#include <string>

#include "common/control/group.h"

namespace hotbackup::capture {

class Environment;

extern std::atomic<unsigned> g_captured_count;

/// The one test that calls in programs without captured environments pay for.
inline bool nothing_captured() {
  return g_captured_count.load(std::memory_order_relaxed) == 0;
}

/// nullptr for an environment in no group. Takes no lock.
Environment* find_environment(MDB_env* env);
/// False when the table is full.
bool register_environment(MDB_env* env, Environment* environment);
void forget_environment(MDB_env* env);

/// Changes in the child of a fork: what was opened under another value is the parent's.
unsigned fork_generation();

/// The group at this canonical directory, opened once a process.
Result<control::Group*> open_group(const std::string& directory,
                                   const control::TrustedOwners& trusted);

/// Marks calls that LMDB makes of itself inside one of ours, in builds of liblmdb whose inner calls
/// go through the dynamic symbols.
class InsideCall {
 public:
  InsideCall() { ++depth_; }
  ~InsideCall() { --depth_; }
  InsideCall(const InsideCall&) = delete;
  InsideCall& operator=(const InsideCall&) = delete;
  static bool active() { return depth_ != 0; }

 private:
  // Reached without a call: this library is loaded with the program, or takes four spare bytes.
  [[gnu::tls_model("initial-exec")]] static inline thread_local int depth_ = 0;
};

}  // namespace hotbackup::capture
