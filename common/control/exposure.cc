// SPDX-License-Identifier: Apache-2.0
#include "common/control/exposure.h"

#include <algorithm>
#include <array>

#include "common/base/clock.h"
#include "common/os/shared_mutex.h"

namespace hotbackup::control {
namespace {

// A limit is reached early by at most this part of it. The ring of marks spans twice the limit.
constexpr std::uint64_t kParts = 64;
static_assert(kExposureMarks >= 4 * kParts);

constexpr std::int64_t kSecond = 1'000'000'000;

/// Of this machine's uptime: comparable between processes, and nobody sets it.
std::int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

void raise_to(std::atomic<std::uint64_t>& number, std::uint64_t to) {
  std::uint64_t seen = number.load();
  while (seen < to && !number.compare_exchange_weak(seen, to)) {
  }
}

}  // namespace

LossLimit Exposure::limit() const {
  LossLimit limit;
  limit.kind = kind();
  limit.amount = state_.amount.load();
  limit.at_limit = static_cast<AtLimit>(state_.at_limit.load());
  limit.wait_max = std::chrono::nanoseconds(state_.wait_max_ns.load());
  limit.applied = state_.applied.load() != 0;
  limit.peers = state_.peers.load();
  return limit;
}

// From one kind or amount to another by a limit of nothing, at which commits wait: one that waits
// already must not see the limit off, nor the new amount by the old measure, while it is not the
// administrator's wish.
void Exposure::set_limit(const LossLimit& limit, std::span<const std::string> peers) {
  const std::uint32_t count = layout_.peer_count.load();
  for (std::uint32_t i = 0; i < count; ++i) {
    PeerEntry& peer = layout_.peers[i];
    peer.counts.store(std::ranges::find(peers, std::string_view(peer.name)) != peers.end() ? 1 : 0);
  }
  const LossLimit before = this->limit();
  const bool measured_anew = before.kind != limit.kind || before.amount != limit.amount;
  if (measured_anew) {
    state_.at_limit.store(static_cast<std::uint32_t>(AtLimit::kWait));
    state_.amount.store(0);
  }
  state_.wait_max_ns.store(static_cast<std::uint64_t>(limit.wait_max.count()));
  state_.applied.store(limit.applied ? 1 : 0);
  state_.peers.store(limit.peers);
  recompute_acknowledged();
  if (measured_anew) {
    const std::uint64_t made = layout_.tail.made.load();
    if (before.kind == LimitKind::kOff) raise_to(state_.returned, made);
    state_.passed_until.store(0);
    state_.mark_count.store(0);
    place_mark(limit.kind == LimitKind::kTime ? std::min(acknowledged(), made) : made, now_ns());
    state_.kind.store(static_cast<std::uint32_t>(limit.kind));
    state_.amount.store(limit.amount);
    const std::uint64_t told = returned();
    if (limit.kind == LimitKind::kUpdates) (void)note_returned(told, needed(told, 0));
  }
  state_.at_limit.store(static_cast<std::uint32_t>(limit.at_limit));
  os::futex_notify(layout_.acknowledged_wake);
}

std::uint64_t Exposure::count_acknowledged() const {
  std::array<std::uint64_t, kPeersMax> numbers{};
  std::size_t known = 0;
  const bool applied = state_.applied.load() != 0;
  const std::uint32_t count = layout_.peer_count.load();
  for (std::uint32_t i = 0; i < count; ++i) {
    const PeerEntry& peer = layout_.peers[i];
    if (peer.counts.load() != 0)
      numbers[known++] = applied ? peer.applied.load() : peer.journaled.load();
  }
  const std::size_t wanted = state_.peers.load() == 0 ? known : state_.peers.load();
  if (wanted == 0 || wanted > known) return 0;
  std::sort(numbers.begin(), numbers.begin() + static_cast<std::ptrdiff_t>(known),
            std::greater<>());
  return numbers[wanted - 1];
}

// Again until it holds: two who take the numbers at once leave the newer.
void Exposure::recompute_acknowledged() {
  std::uint64_t number;
  do {
    number = count_acknowledged();
    state_.acknowledged.store(number);
  } while (count_acknowledged() != number);
  os::futex_notify(layout_.acknowledged_wake);
}

// The fields first, then the count that covers them.
void Exposure::place_mark(std::uint64_t number, std::int64_t now) {
  const std::uint64_t count = state_.mark_count.load();
  ExposureMark& next = mark(count);
  next.number.store(number);
  next.bytes.store(state_.bytes_through.load());
  next.time_ns.store(now);
  state_.mark_count.store(count + 1, std::memory_order_release);
}

// A mark says: the updates through `number` have `bytes` together, and all were appended before
// `time`, all later ones after it. It stands before the update that would make the stretch since
// the last mark too long, so an update is never hidden inside a stretch.
void Exposure::note_append(std::uint64_t bytes) {
  const LimitKind kind = this->kind();
  if (kind != LimitKind::kBytes && kind != LimitKind::kTime) return;
  const std::uint64_t made = layout_.tail.made.load();
  const std::uint64_t part = state_.amount.load() / kParts;
  ExposureMark& last = mark(mark_count() - 1);
  const bool moved = last.number.load() != made;
  if (kind == LimitKind::kBytes) {
    if (moved && state_.bytes_through.load() + bytes - last.bytes.load() >= part)
      place_mark(made, now_ns());
    return;
  }
  const std::int64_t now = now_ns();
  if (!moved)
    last.time_ns.store(now);
  else if (now - last.time_ns.load() >= static_cast<std::int64_t>(part))
    place_mark(made, now);
}

/// The oldest mark that `reached` holds for; it holds for all later ones too.
template <class Reached>
std::uint64_t Exposure::oldest_mark(Reached reached, std::uint64_t otherwise) const {
  for (;;) {
    const std::uint64_t count = mark_count();
    // Of a full ring the very oldest may be under way to become the next one.
    std::uint64_t low = count >= kExposureMarks ? count - kExposureMarks + 1 : 0;
    const std::uint64_t begin = low;
    std::uint64_t high = count;
    std::uint64_t number = otherwise;
    while (low < high) {
      const std::uint64_t middle = low + (high - low) / 2;
      const ExposureMark& candidate = mark(middle);
      const std::uint64_t its_number = candidate.number.load();
      if (reached(candidate)) {
        high = middle;
        number = its_number;
      } else {
        low = middle + 1;
      }
    }
    const std::uint64_t now = mark_count();
    if (now >= count && now < begin + kExposureMarks) return number;
  }
}

std::uint64_t Exposure::needed_by_bytes(std::uint64_t bytes_through,
                                        std::uint64_t otherwise) const {
  const std::uint64_t amount = state_.amount.load();
  return oldest_mark(
      [&](const ExposureMark& mark) { return mark.bytes.load() + amount >= bytes_through; },
      otherwise);
}

std::uint64_t Exposure::needed_by_time(std::uint64_t otherwise) const {
  const std::int64_t since = now_ns() - static_cast<std::int64_t>(state_.amount.load());
  return oldest_mark([&](const ExposureMark& mark) { return mark.time_ns.load() >= since; },
                     otherwise);
}

std::uint64_t Exposure::needed(std::uint64_t number, std::uint64_t bytes_through) const {
  switch (kind()) {
    case LimitKind::kOff:
      return 0;
    case LimitKind::kUpdates: {
      const std::uint64_t amount = state_.amount.load();
      return number > amount ? number - amount : 0;
    }
    case LimitKind::kBytes:
      return std::min(number, needed_by_bytes(bytes_through, number));
    case LimitKind::kTime:
      return std::min(number, needed_by_time(number));
  }
  return 0;
}

bool Exposure::note_returned(std::uint64_t number, std::uint64_t needed) {
  bool passes = false;
  if (const std::uint64_t acknowledged = this->acknowledged(); acknowledged < needed) {
    passes = state_.passed_until.load() <= acknowledged;
    raise_to(state_.passed_until, needed);
  }
  raise_to(state_.returned, number);
  return passes;
}

bool Exposure::passed() const {
  if (kind() == LimitKind::kOff) return false;
  const std::uint64_t returned = this->returned();
  if (kind() == LimitKind::kTime && std::min(returned, needed_by_time(returned)) > acknowledged())
    return true;
  return state_.passed_until.load() > acknowledged();
}

bool Exposure::refuses() const {
  if (static_cast<AtLimit>(state_.at_limit.load()) != AtLimit::kRefuse) return false;
  if (passed()) return true;
  const std::uint64_t made = layout_.tail.made.load();
  const std::uint64_t acknowledged = this->acknowledged();
  if (kind() == LimitKind::kUpdates && state_.amount.load() == 0) return false;
  return acknowledged < made && needed(made + 1, state_.bytes_through.load() + 1) > acknowledged;
}

bool Exposure::somebody_waits() const {
  const std::int64_t waited = state_.waited_ns.load();
  return waited != 0 && now_ns() - waited < kSecond;
}

void Exposure::note_waiting() {
  state_.waited_ns.store(now_ns());
}

bool Exposure::note_refused() {
  const std::int64_t now = now_ns();
  std::int64_t before = state_.refused_ns.load();
  return (before == 0 || now - before >= kSecond) &&
         state_.refused_ns.compare_exchange_strong(before, now);
}

std::string describe(const LossLimit& limit) {
  switch (limit.kind) {
    case LimitKind::kUpdates:
      if (limit.amount == 0) return "0";
      return human_count(limit.amount) + (limit.amount == 1 ? " update" : " updates");
    case LimitKind::kBytes:
      return human_bytes(limit.amount);
    case LimitKind::kTime:
      return human_duration(std::chrono::nanoseconds(limit.amount));
    case LimitKind::kOff:
      break;
  }
  return "off";
}

std::string_view at_limit_name(AtLimit at_limit) {
  constexpr std::string_view kNames[] = {"alarm", "wait", "refuse"};
  return kNames[static_cast<std::size_t>(at_limit)];
}

}  // namespace hotbackup::control
