// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/world.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "common/base/bytes.h"

namespace hotbackup::sim {
namespace {

constexpr auto kLater = [](const auto& a, const auto& b) {
  return a.time != b.time ? a.time > b.time : a.order > b.order;
};

}  // namespace

void World::after(Span delay, std::function<void()> what) {
  events_.push_back({now_ + delay, ++order_, std::move(what)});
  std::push_heap(events_.begin(), events_.end(), kLater);
}

void World::within(Span least, Span most, std::function<void()> what) {
  after(Span(random_.between(static_cast<std::uint64_t>(least.count()),
                             static_cast<std::uint64_t>(most.count()))),
        std::move(what));
}

void World::run_until(Time end) {
  while (!events_.empty() && events_.front().time <= end) {
    std::pop_heap(events_.begin(), events_.end(), kLater);
    Event event = std::move(events_.back());
    events_.pop_back();
    now_ = event.time;
    event.what();
  }
  now_ = end;
}

void World::note(std::string_view who, std::string_view what, std::uint64_t a, std::uint64_t b) {
  mix(static_cast<std::uint64_t>(elapsed().count()));
  mix(hash64(who) ^ hash64(what));
  mix(a);
  mix(b);
  if (!print_) return;
  std::printf("%10.3f ms  %-9.*s %.*s %" PRIu64 " %" PRIu64 "\n",
              static_cast<double>(elapsed().count()) / 1e6, static_cast<int>(who.size()),
              who.data(), static_cast<int>(what.size()), what.data(), a, b);
}

void World::require(bool holds, std::string_view rule, std::string_view who, std::uint64_t a,
                    std::uint64_t b) const {
  if (holds) return;
  violation(std::string(who) + ": " + std::string(rule) + " (" + std::to_string(a) + ", " +
            std::to_string(b) + ")");
}

}  // namespace hotbackup::sim
