// SPDX-License-Identifier: Apache-2.0
#include "common/control/incident_table.h"

#include <algorithm>
#include <cstring>

#include "common/control/shared_text.h"

namespace hotbackup::control {
namespace {

constexpr std::chrono::milliseconds kLockTimeout{1000};

std::int64_t now_ns() {
  return wall_now().time_since_epoch().count();
}
WallTime time_of(std::int64_t ns) {
  return WallTime(std::chrono::nanoseconds(ns));
}

bool is(const char* field, std::size_t size, std::string_view text) {
  return std::string_view(field, ::strnlen(field, size)) == text.substr(0, size - 1);
}
bool is(const IncidentEntry& entry, std::string_view code, std::string_view subject) {
  return entry.open.load() != 0 && is(entry.code, sizeof entry.code, code) &&
         is(entry.subject, sizeof entry.subject, subject);
}

/// Without the lock: what was written meanwhile is read again.
std::optional<Incident> read(const IncidentEntry& entry) {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const std::uint32_t before = entry.text_sequence.load();
    const bool open = entry.open.load() != 0;
    if (before % 2 != 0) continue;
    if (entry.code[0] == '\0') return std::nullopt;  // never used
    Incident incident{{entry.code, ::strnlen(entry.code, sizeof entry.code)},
                      {entry.subject, ::strnlen(entry.subject, sizeof entry.subject)},
                      {entry.text, ::strnlen(entry.text, sizeof entry.text)},
                      time_of(entry.first_ns.load()),
                      time_of(entry.last_ns.load()),
                      entry.count.load(),
                      open};
    if (entry.text_sequence.load() == before) return incident;
  }
  return std::nullopt;
}

/// The entry for a new incident: a free one, else one that is open; of them the one raised longest
/// ago, since the incident log may not have seen later ones yet.
IncidentEntry& place_for_new(Layout& layout) {
  const auto order = [](const IncidentEntry& entry) {
    return std::make_pair(entry.open.load() != 0, entry.last_ns.load());
  };
  IncidentEntry* best = &layout.incidents[0];
  for (IncidentEntry& entry : layout.incidents)
    if (order(entry) < order(*best)) best = &entry;
  return *best;
}

}  // namespace

void IncidentTable::raise(std::string_view code, std::string_view subject,
                          std::string_view text) noexcept {
  // Without the lock only two who raise at once could meet in one entry: better than silence.
  const auto lock = os::SharedLock::acquire(layout_.incident_lock, kLockTimeout);
  IncidentEntry* entry = nullptr;
  for (IncidentEntry& known : layout_.incidents)
    if (is(known, code, subject)) entry = &known;
  const bool is_new = entry == nullptr;
  if (is_new) entry = &place_for_new(layout_);
  entry->text_sequence.store(entry->text_sequence.load() | 1);
  const std::int64_t now = now_ns();
  if (is_new) {
    copy_text(entry->code, sizeof entry->code, code);
    copy_text(entry->subject, sizeof entry->subject, subject);
    entry->first_ns.store(now);
    entry->count.store(0);
  }
  entry->last_ns.store(now);
  entry->count.fetch_add(1);
  copy_text(entry->text, sizeof entry->text, text);
  entry->open.store(1);
  entry->text_sequence.fetch_add(1);
}

void IncidentTable::clear(std::string_view code, std::string_view subject) noexcept {
  const auto lock = os::SharedLock::acquire(layout_.incident_lock, kLockTimeout);
  for (IncidentEntry& entry : layout_.incidents)
    if (is(entry, code, subject)) entry.open.store(0);
}

void IncidentTable::clear_all(std::string_view code) noexcept {
  const auto lock = os::SharedLock::acquire(layout_.incident_lock, kLockTimeout);
  for (IncidentEntry& entry : layout_.incidents)
    if (entry.open.load() != 0 && is(entry.code, sizeof entry.code, code)) entry.open.store(0);
}

std::vector<Incident> IncidentTable::open() const {
  std::vector<Incident> incidents;
  for (const IncidentEntry& entry : layout_.incidents)
    if (auto incident = read(entry); incident && incident->open)
      incidents.push_back(std::move(*incident));
  std::ranges::sort(incidents, std::greater<>(), &Incident::first);
  return incidents;
}

std::vector<Incident> IncidentTable::recent() const {
  std::vector<Incident> incidents;
  for (const IncidentEntry& entry : layout_.incidents)
    if (auto incident = read(entry)) incidents.push_back(std::move(*incident));
  std::ranges::sort(incidents, {}, &Incident::first);
  return incidents;
}

std::optional<Incident> IncidentTable::find(std::string_view code, std::string_view subject) const {
  for (Incident& incident : open())
    if (incident.code == code && incident.subject == subject) return std::move(incident);
  return std::nullopt;
}

}  // namespace hotbackup::control
