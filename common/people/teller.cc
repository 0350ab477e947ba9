// SPDX-License-Identifier: Apache-2.0
#include "common/people/teller.h"

#include <algorithm>

#include "common/incident/catalogue.h"
#include "common/people/message.h"

namespace hotbackup::people {
namespace {

using catalogue::IncidentRecord;

constexpr std::size_t kNoticesMax = 50;  // in one message; the rest follows in the next
constexpr std::chrono::hours kForgotten{24};

std::tuple<std::string, std::string, std::string> key_of(const IncidentRecord& incident) {
  return {incident.group, incident.code, incident.subject};
}

}  // namespace

void Teller::Bucket::refill(double burst, std::chrono::nanoseconds period, WallTime now) {
  if (at == WallTime()) at = now;
  const std::chrono::duration<double> passed = std::max(now - at, std::chrono::nanoseconds(0));
  tokens = std::min(burst, tokens + passed / std::chrono::duration<double>(period));
  at = now;
}

bool Teller::is_for_us(const IncidentRecord& incident) const {
  // Who cannot be reached need not be told that he cannot.
  if (incident.code == "HB-notify-failed" && incident.subject == name_of(entry_.to)) return false;
  if (static_cast<int>(incident::severity_of(incident.code)) < static_cast<int>(entry_.from))
    return false;
  return std::ranges::any_of(entry_.groups, [&](const std::string& group) {
    return group == "*" || group == incident.group;
  });
}

void Teller::note(const IncidentRecord& incident, std::chrono::milliseconds settle, WallTime now) {
  if (!is_for_us(incident)) return;
  Cause& cause = causes_[key_of(incident)];
  const bool was_news = cause.news();
  if (!incident.cleared) ++cause.raised;
  cause.open = !incident.cleared;
  cause.incident = incident;
  // What came first decides when a raised one is told; one that has gone has to stay away.
  if (incident.cleared)
    cause.due = now + (cause.told_open ? settle : std::chrono::milliseconds(0));
  else if (!was_news)
    cause.due = now + kGather;
}

void Teller::resume(const IncidentRecord& incident, WallTime now) {
  if (!is_for_us(incident)) return;
  Cause& cause = causes_[key_of(incident)];
  cause.incident = incident;
  cause.open = cause.told_open = true;
  cause.told_at = now;
}

bool Teller::due(Cause& cause, WallTime now) {
  if (!cause.news()) return cause.open && cause.told_open && now - cause.told_at >= kReminder;
  if (now < cause.due) return false;
  cause.bucket.refill(kCauseBurst, kCauseRefill, now);
  // An all-clear is never held back: the message before it said that something is wrong.
  return cause.told_open || cause.bucket.tokens >= 1;
}

std::vector<Notice> Teller::take(WallTime now) {
  bucket_.refill(kBurst, kRefill, now);
  std::vector<Notice> notices;
  if (bucket_.tokens < 1) return notices;
  for (auto at = causes_.begin(); at != causes_.end();) {
    Cause& cause = at->second;
    if (notices.size() < kNoticesMax && due(cause, now)) {
      const bool reminder = !cause.news();
      const std::uint64_t times = std::max<std::uint64_t>(cause.raised, 1);
      notices.push_back({cause.incident, !cause.open, reminder, times});
      if (!cause.told_open) cause.bucket.tokens -= 1;
      if (!cause.open) cause.raised = 0;
      cause.told_open = cause.open;
      cause.told_at = now;
    }
    const bool over = !cause.open && !cause.news() && now - cause.told_at > kForgotten;
    at = over ? causes_.erase(at) : std::next(at);
  }
  if (!notices.empty()) bucket_.tokens -= 1;
  return notices;
}

bool Teller::waits(const IncidentRecord& incident) const {
  const auto cause = causes_.find(key_of(incident));
  return cause != causes_.end() && cause->second.news();
}

}  // namespace hotbackup::people
