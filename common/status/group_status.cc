// SPDX-License-Identifier: Apache-2.0
#include "common/status/group_status.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "common/config/vocabulary.h"
#include "common/control/apply_decisions.h"
#include "common/control/shared_text.h"
#include "common/control/test_environment.h"
#include "common/incident/catalogue.h"
#include "common/journal/reader.h"
#include "common/retention/rules.h"
#include "common/status/test_history.h"

namespace hotbackup::status {
namespace {

// A queue's first segment is read frame by frame up to this; an update beyond it has its own
// segment.
constexpr std::uint64_t kReadBytesMax = 64 << 20;

std::optional<WallTime> time_of(std::int64_t ns) {
  if (ns == 0) return std::nullopt;
  return WallTime(std::chrono::nanoseconds(ns));
}

/// Bytes of the frames in segments after `segment`; the active one through the tail.
std::uint64_t bytes_after(control::Group& group, const std::vector<UpdateNumber>& segments,
                          UpdateNumber segment) {
  const journal::SharedTail& tail = group.layout().tail;
  std::uint64_t bytes = 0;
  for (const UpdateNumber first : segments) {
    if (first <= segment) continue;
    std::uint64_t end = tail.offset;
    if (first.value != tail.segment_first.load()) {
      auto file = group.journal_directory().open(journal::segment_name(first), /*writable=*/false);
      if (!file) continue;  // retired meanwhile
      end = (*file)->size().value_or(0);
    }
    if (end > journal::kSegmentHeaderBytes) bytes += end - journal::kSegmentHeaderBytes;
  }
  return bytes;
}

/// Updates after `done` through `last`; where something cannot be read, what could be.
Result<> measure(control::Group& group, std::uint64_t done, std::uint64_t last, Stretch& stretch) {
  if (last <= done) return {};
  stretch.updates = last - done;
  HOTBACKUP_ASSIGN(const auto segments, journal::list_segments(group.journal_directory()));
  const auto after = std::upper_bound(segments.begin(), segments.end(), UpdateNumber(done + 1));
  if (after == segments.begin()) return {};  // history that is gone: a seed is due
  const UpdateNumber end_of_segment = after == segments.end()
                                          ? UpdateNumber(last)
                                          : std::min(after->previous(), UpdateNumber(last));
  journal::Reader reader(group.journal_directory(), group.id());
  HOTBACKUP_TRY(reader.seek(UpdateNumber(done + 1)));
  while (reader.next_number() <= end_of_segment && stretch.bytes < kReadBytesMax) {
    HOTBACKUP_ASSIGN(const auto frame, reader.next(end_of_segment));
    if (!frame) break;
    if (frame->header.part != 0) continue;
    if (!stretch.oldest) stretch.oldest = frame->header.commit_time;
    stretch.bytes += frame->header.update_bytes;
  }
  stretch.bytes += bytes_after(group, segments, *(after - 1));
  return {};
}

void add_incident(GroupStatus& status, std::string code, std::string text,
                  const std::string& subject = {}, std::optional<WallTime> time = std::nullopt) {
  const std::string severity(incident::severity_name(incident::severity_of(code)));
  std::string action = incident::action_for(code, status.name, subject);
  status.incidents.push_back(
      {std::move(code), subject, severity, std::move(text), std::move(action), time});
}

/// What the files themselves say; the watch may have raised it already.
void add_derived(GroupStatus& status, const std::string& code, std::string text) {
  if (std::ranges::find(status.incidents, code, &Incident::code) == status.incidents.end())
    add_incident(status, code, std::move(text));
}

/// Since when a queue whose first update cannot be read has been waiting, as far as can be told:
/// since a peer was last heard, or the damage was seen; else no longer than since update `done`.
WallTime stuck_since(control::Group& group, const GroupStatus& status, std::uint64_t done) {
  std::optional<WallTime> heard;
  for (const PeerStatus& peer : status.peers)
    if (peer.heard) heard = std::max(heard.value_or(*peer.heard), *peer.heard);
  for (const Incident& incident : status.incidents)
    if (incident.code == "HB-journal-damaged" && incident.time)
      heard = std::min(heard.value_or(*incident.time), *incident.time);
  if (heard) return *heard;
  journal::Reader reader(group.journal_directory(), group.id());
  if (done != 0 && reader.seek(UpdateNumber(done)))
    if (const auto frame = reader.next(UpdateNumber(done)); frame && *frame)
      return (*frame)->header.commit_time;
  return status.server.started.value_or(status.now - status.check_period);
}

Stretch measure_or_tell(control::Group& group, GroupStatus& status, std::uint64_t done,
                        std::uint64_t last) {
  Stretch stretch;
  const auto measured = measure(group, done, last, stretch);
  // Segments that go while they are read are no incident, and neither is a queue just emptied.
  if (!measured && measured.error().code() != ErrorCode::kGap &&
      measured.error().code() != ErrorCode::kNotFound && status.incidents.empty())
    add_derived(status, "HB-journal-damaged", measured.error().text());
  if (stretch.updates != 0 && !stretch.oldest) stretch.oldest = stuck_since(group, status, done);
  return stretch;
}

PeerStatus read_peer(control::Group& group, const control::PeerEntry& entry) {
  PeerStatus peer;
  peer.name = entry.name;
  peer.link = static_cast<control::LinkState>(entry.link.load());
  peer.text = control::read_guarded(entry.text_sequence, entry.text, sizeof entry.text);
  peer.way_home = static_cast<control::WayHome>(entry.way_home.load());
  peer.seeded = entry.seeded.load() != 0;
  peer.sent = entry.sent.load();
  peer.journaled = entry.journaled.load();
  peer.applied = entry.applied.load();
  peer.published = entry.published.load();
  peer.heard = time_of(entry.heard_ns.load());
  const control::PeerClock& clock = group.clock_of(entry);
  if (clock.measured_ns.load() != 0) peer.clock = std::chrono::nanoseconds(clock.offset_ns.load());
  return peer;
}

ServerStatus read_server(control::Group& group) {
  const bool master = group.role() == control::Role::kMaster;
  const auto which = master ? control::Group::Server::kMaster : control::Group::Server::kSlave;
  const control::ServerEntry& entry = group.layout().servers[static_cast<std::size_t>(which)];
  ServerStatus server;
  server.program = master ? "hotbackup-master" : "hotbackup-slave";
  server.alive = group.server_alive(which);
  server.pid = entry.pid.load();
  server.started = time_of(entry.started_ns.load());
  server.last_alive = time_of(entry.alive_ns.load());
  server.stopped = time_of(entry.stopped_ns.load());
  return server;
}

void read_tables(control::Group& group, const config::Group& settings, GroupStatus& status) {
  const control::Layout& layout = group.layout();
  for (const std::string& name : settings.peers)
    if (const control::PeerEntry* peer = group.peer(name))
      status.peers.push_back(read_peer(group, *peer));
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n) {
    const control::EnvironmentEntry* entry = group.environment(EnvironmentNumber(n));
    if (entry == nullptr || control::is_test_environment(entry->name)) continue;
    const bool unlogged = static_cast<control::EnvironmentState>(entry->state.load()) ==
                          control::EnvironmentState::kUnlogged;
    status.environments.push_back({n, entry->name, entry->path, unlogged});
  }
  for (const control::Incident& incident : group.incidents().open())
    add_incident(status, incident.code, incident.text, incident.subject, incident.first);
  status.os_error = static_cast<int>(layout.tail.failed.load());
  if (status.os_error != 0)
    add_derived(status, "HB-journal-failed",
                std::string("the journal could not be synced: ") + std::strerror(status.os_error));
}

void read_numbers(control::Group& group, const config::Group& settings, GroupStatus& status) {
  if (group.role() == control::Role::kMaster) {
    const control::Exposure exposure = group.exposure();
    const std::uint64_t returned = exposure.returned();  // first: acknowledgements only grow
    const Reached reached = reached_by_peers(group, settings);
    status.published = group.published().value;
    status.made = group.made().value;
    status.sent = std::min(reached.sent, status.published);
    status.journaled = std::min(reached.journaled, status.published);
    status.applied = std::min(reached.applied, status.published);
    status.test_round_trip_ms = last_round_trip_ms(group.directory());
    status.queue = measure_or_tell(group, status, status.journaled, status.made);
    status.exposure = status.queue;
    status.limit = exposure.limit();
    status.limit_passed = exposure.passed();
    status.limit_refuses = exposure.refuses();
    status.writers_wait = exposure.somebody_waits();
    // While a limit counts, what a commit waits with is not exposed yet.
    const bool counted = status.limit.kind != control::LimitKind::kOff;
    const std::uint64_t acknowledged =
        status.limit.applied ? std::min(status.applied, status.published) : status.journaled;
    const std::uint64_t told = counted ? returned : status.published;
    if (status.limit.applied)
      status.exposure = measure_or_tell(group, status, acknowledged, status.made);
    status.exposure.updates = told > acknowledged ? told - acknowledged : 0;
    if (status.exposure.updates == 0) status.exposure.oldest.reset();
    status.behind = measure_or_tell(group, status, status.applied, status.published);
    return;
  }
  status.applied = group.layout().applied.load();
  status.journaled = std::max(group.synced().value, status.applied);
  status.sent = std::max(group.made().value, status.journaled);
  status.published = status.sent;
  for (const PeerStatus& peer : status.peers)
    status.published = std::max(status.published, peer.published);
  status.made = status.published;
  status.queue = measure_or_tell(group, status, status.applied, status.journaled);
  status.behind = status.queue;
}

/// Without a server what it will do when it starts.
Result<> read_applying(control::Group& group, const config::Group& settings, GroupStatus& status) {
  HOTBACKUP_ASSIGN(const auto decisions, control::read_apply_decisions(group.directory()));
  HOTBACKUP_ASSIGN(const auto waiting, control::waiting_set_aside(group, decisions));
  const control::Layout& layout = group.layout();
  status.apply_delay = settings.apply_delay;
  const auto stopped = static_cast<std::uint32_t>(control::ApplyState::kStopped);
  if (decisions.paused.value_or(settings.apply == config::Apply::kPaused)) {
    status.applying = control::ApplyState::kPaused;
  } else if (waiting || (status.server.alive && layout.apply_state.load() == stopped)) {
    status.applying = control::ApplyState::kStopped;
    status.stopped_at = waiting ? waiting->value : layout.apply_stopped_at.load();
  }
  return {};
}

void read_journal(control::Group& group, const config::Group& settings, GroupStatus& status) {
  const retention::Rules rules = retention::rules_of(settings, group);
  JournalStatus& journal = status.journal;
  if (const auto segments = retention::segments_of(group); segments && !segments->empty()) {
    journal.first = segments->front().first.value;
    journal.bytes = retention::bytes_of(*segments);
    journal.segments = segments->size();
  }
  struct statvfs disk {};
  if (::statvfs((group.directory() + "/journal").c_str(), &disk) == 0) {
    journal.disk_bytes = std::uint64_t{disk.f_blocks} * disk.f_frsize;
    journal.free_bytes = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  }
  journal.limit_bytes = rules.limit_bytes;
  // The default follows the free space as it was when the server started.
  if (const std::uint64_t in_force = group.layout().journal_limit.load(); in_force != 0)
    journal.limit_bytes = in_force;
  journal.at_limit = config::word_of(config::kAtJournalLimit, settings.at_journal_limit);
  journal.kept_for = retention::why_kept(group, rules);
  const auto record = retention::read_record(group);
  if (!record) return;
  if (rules.archive) journal.archived = record->archived.value;
  for (PeerStatus& peer : status.peers) {
    const retention::Claim* claim = record->find(peer.name);
    if (claim == nullptr) continue;
    peer.needs_seed = claim->needs_seed;
    if (const auto held = claim->holds()) peer.pins = held->value;
  }
}

}  // namespace

std::string group_directory(const config::Configuration& configuration, std::string_view group) {
  return configuration.node.state + "/groups/" + std::string(group);
}

std::string_view role_name(control::Role role) {
  switch (role) {
    case control::Role::kMaster:
      return "master";
    case control::Role::kSlave:
      return "slave";
    case control::Role::kFenced:
      return "fenced";
    case control::Role::kNone:
      break;
  }
  return "none";
}

Reached reached_by_peers(control::Group& group, const config::Group& settings) {
  std::vector<std::uint64_t> sent, journaled, applied;
  for (const std::string& name : settings.peers) {
    const control::PeerEntry* peer = group.peer(name);
    if (peer == nullptr) continue;
    sent.push_back(peer->sent.load());
    journaled.push_back(peer->journaled.load());
    applied.push_back(peer->applied.load());
  }
  std::size_t needed = 1;
  if (settings.acknowledge.kind == config::Acknowledge::Kind::kAll) needed = sent.size();
  if (settings.acknowledge.kind == config::Acknowledge::Kind::kCount)
    needed = settings.acknowledge.count;
  if (needed == 0 || needed > sent.size()) return {};
  for (auto* numbers : {&sent, &journaled, &applied})
    std::sort(numbers->begin(), numbers->end(), std::greater<>());
  return {sent[needed - 1], journaled[needed - 1], applied[needed - 1]};
}

Result<GroupStatus> read_status(const config::Configuration& configuration,
                                const config::Group& settings) {
  GroupStatus status;
  status.name = settings.name;
  status.node = configuration.node.name;
  status.check_period = settings.check_period;
  status.now = wall_now();
  auto opened = control::Group::open(group_directory(configuration, settings.name));
  if (!opened) {
    if (opened.error().code() == ErrorCode::kNotFound) return status;
    return fail(std::move(opened).error().with_context("group " + settings.name));
  }
  control::Group& group = **opened;
  status.initialised = true;
  status.role = group.role();
  status.epoch = group.epoch().counter;
  status.known_epoch = group.known_epoch().counter;
  status.promotion_cut_short = status.role == control::Role::kSlave && status.known_epoch != 0 &&
                               group.known_epoch().node.value == group.layout().node &&
                               !group.server_alive(control::Group::Server::kChange);
  status.server = read_server(group);
  status.master_name = group.layout().master_name;
  if (status.role == control::Role::kMaster)
    status.master_address = config::to_text(configuration.node.listen);
  else if (const config::Peer* master = config::find_peer(configuration, status.master_name);
           master != nullptr && !master->addresses.empty())
    status.master_address = config::to_text(master->addresses.front());
  read_tables(group, settings, status);
  read_numbers(group, settings, status);
  status.rejoining = ::access((group.directory() + "/rejoin").c_str(), F_OK) == 0;
  if (status.role == control::Role::kSlave) HOTBACKUP_TRY(read_applying(group, settings, status));
  read_journal(group, settings, status);
  status.now = wall_now();
  return status;
}

}  // namespace hotbackup::status
