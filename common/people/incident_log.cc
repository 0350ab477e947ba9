// SPDX-License-Identifier: Apache-2.0
#include "common/people/incident_log.h"

namespace hotbackup::people {
namespace {

using catalogue::IncidentRecord;

constexpr std::size_t kResumed = 1000;            // incidents; a table holds 64 a group
constexpr std::chrono::seconds kCountPeriod{10};  // a count that moves is written this often

}  // namespace

Result<> IncidentLog::resume() {
  HOTBACKUP_ASSIGN(const auto open, catalogue_.open_incidents());
  for (const IncidentRecord& incident : open)
    open_[{incident.group, incident.code, incident.subject}] = incident;
  HOTBACKUP_ASSIGN(const auto last, catalogue_.incidents("", kResumed));
  for (const IncidentRecord& incident : last) {
    last_seen_.try_emplace({incident.group, incident.code, incident.subject}, incident.first);
    const bool told = incident.told == (incident.cleared ? IncidentRecord::Told::kCleared
                                                         : IncidentRecord::Told::kRaised);
    if (!told) changes_.push_back(incident);
  }
  return {};
}

void IncidentLog::keep(IncidentRecord& incident) {
  const Result<> kept = catalogue_.keep(incident);
  trouble_ = kept ? "" : kept.error().text();
}

void IncidentLog::raise(const Key& key, const control::Incident& incident, WallTime now) {
  if (const auto known = open_.find(key); known != open_.end()) {
    IncidentRecord& record = known->second;
    if (record.first == incident.first) {
      if (record.count == incident.count && record.text == incident.text) return;
      const bool due = now - record.last >= kCountPeriod || record.text != incident.text;
      record.count = incident.count;
      record.text = incident.text;
      if (due) {
        record.last = incident.last;
        keep(record);
      }
      return;
    }
    clear(known, incident.first);  // it went and came back between two looks
  }
  IncidentRecord record;
  record.group = std::get<0>(key);
  record.code = incident.code;
  record.subject = incident.subject;
  record.text = incident.text;
  record.first = incident.first;
  record.last = incident.last;
  record.count = incident.count;
  keep(record);
  last_seen_[key] = record.first;
  changes_.push_back(record);
  open_[key] = std::move(record);
}

void IncidentLog::clear(std::map<Key, IncidentRecord>::iterator at, WallTime now) {
  IncidentRecord& record = at->second;
  record.cleared = std::max(now, record.last);
  keep(record);
  changes_.push_back(record);
  open_.erase(at);
}

void IncidentLog::look(const std::string& group, const std::vector<control::Incident>& recent,
                       WallTime now) {
  std::set<Key> there;
  for (const control::Incident& incident : recent) {
    const Key key{group, incident.code, incident.subject};
    if (incident.open) {
      there.insert(key);
      raise(key, incident, now);
      continue;
    }
    if (const auto known = open_.find(key);
        known != open_.end() && known->second.first == incident.first) {
      known->second.count = incident.count;  // its end is noted below
      known->second.text = incident.text;
      continue;
    }
    const auto seen = last_seen_.find(key);
    if (seen != last_seen_.end() && incident.first <= seen->second) continue;
    raise(key, incident, now);  // it came and went between two looks
    clear(open_.find(key), now);
  }
  for (auto at = open_.begin(); at != open_.end();) {
    const auto next = std::next(at);
    if (std::get<0>(at->first) == group && !there.contains(at->first)) clear(at, now);
    at = next;
  }
}

void IncidentLog::note_told(IncidentRecord incident) {
  using Told = IncidentRecord::Told;
  incident.told = incident.cleared ? Told::kCleared : Told::kRaised;
  const Key key{incident.group, incident.code, incident.subject};
  if (const auto open = open_.find(key); open != open_.end() && open->second.id == incident.id) {
    open->second.told = incident.told;
    keep(open->second);
  } else {
    keep(incident);
  }
}

}  // namespace hotbackup::people
