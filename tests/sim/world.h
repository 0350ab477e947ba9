// SPDX-License-Identifier: Apache-2.0
// The clock, the events and the trace of one simulated history. One thread; everything that happens
// follows from the seed.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "tests/support/random.h"

namespace hotbackup::sim {

using Time = std::chrono::steady_clock::time_point;
using Span = std::chrono::microseconds;
using test::Random;

/// A rule is broken: the history has shown a bug.
struct Violation {
  std::string text;
};

class World {
 public:
  /// `print`: every line of the trace goes to standard output.
  World(std::uint64_t seed, bool print) : random_(seed), print_(print) {}

  Random& random() { return random_; }
  Time now() const { return now_; }
  WallTime wall() const { return WallTime(std::chrono::seconds(1'700'000'000)) + elapsed(); }
  std::chrono::nanoseconds elapsed() const { return now_.time_since_epoch(); }

  /// Not before `delay` from now; events of one instant in the order in which they were asked for.
  void after(Span delay, std::function<void()> what);
  /// The same, somewhere in [least, most].
  void within(Span least, Span most, std::function<void()> what);
  void run_until(Time end);

  /// A line of the trace.
  void note(std::string_view who, std::string_view what, std::uint64_t a = 0, std::uint64_t b = 0);
  void mix(std::uint64_t number) { trace_ = Random(trace_ ^ number).next(); }
  std::uint64_t trace() const { return trace_; }

  [[noreturn]] void violation(std::string text) const { throw Violation{std::move(text)}; }
  void require(bool holds, std::string_view rule, std::string_view who, std::uint64_t a = 0,
               std::uint64_t b = 0) const;

 private:
  struct Event {
    Time time;
    std::uint64_t order;
    std::function<void()> what;
  };

  Random random_;
  const bool print_;
  Time now_{};
  std::uint64_t order_ = 0;
  std::vector<Event> events_;  // a heap, the next one in front
  std::uint64_t trace_ = 0;
};

}  // namespace hotbackup::sim
