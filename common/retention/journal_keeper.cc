// SPDX-License-Identifier: Apache-2.0
#include "common/retention/journal_keeper.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/control/last_words.h"
#include "common/journal/segment.h"
#include "common/lmdb/environment.h"
#include "common/os/unique_fd.h"

namespace hotbackup::retention {
namespace {

constexpr char kAtLimit[] = "HB-journal-limit";
constexpr char kForgotten[] = "HB-slave-forgotten";
constexpr char kSyncFailed[] = "HB-environment-sync-failed";

}  // namespace

JournalKeeper::JournalKeeper(control::Group& group, Rules rules, SyncFile sync_file)
    : group_(group), rules_(std::move(rules)), sync_file_(std::move(sync_file)) {}

Result<> JournalKeeper::sync_data_file(const std::string& path) {
  const os::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file && errno == ENOENT) return {};  // removed by its owner: nothing is there to lose
  if (!file)
    return fail(ErrorCode::kRefused, "opening " + path + ": " + std::strerror(errno), errno);
  if (::fdatasync(file.get()) != 0) return fail_errno("syncing " + path);
  return {};
}

Result<> JournalKeeper::publish_limit() {
  group_.layout().journal_limit.store(rules_.limit_bytes.value_or(0));
  const bool refuses = rules_.at_limit == config::AtJournalLimit::kRefuse;
  return group_.limit_journal(refuses ? rules_.limit_bytes.value_or(0) : 0);
}

Result<std::vector<std::string>> JournalKeeper::tidy() {
  HOTBACKUP_TRY(advance_claims());
  HOTBACKUP_ASSIGN(auto segments, segments_of(group_));
  for (;;) {
    HOTBACKUP_ASSIGN(const bool retired, retire_oldest(segments, /*though_young=*/false));
    if (!retired) break;
    segments.erase(segments.begin());
  }
  std::vector<std::string> forgotten;
  HOTBACKUP_TRY(keep_to_limit(segments, forgotten));
  auto spares = tidy_spares(segments);
  if (!spares && forgotten.empty()) return fail(std::move(spares).error());
  return forgotten;
}

// The file is written when a claim has moved into another segment, and not once an
// acknowledgement: a claim that is behind only keeps more. Only a link that streams counts, since
// only then is the slave's history known to be this one.
Result<> JournalKeeper::advance_claims() {
  HOTBACKUP_ASSIGN(const auto record, read_record(group_));
  HOTBACKUP_ASSIGN(const auto segments, segments_of(group_));
  for (const std::string& name : rules_.peers) {
    const Claim* claim = record.find(name);
    const control::PeerEntry* peer = group_.peer(name);
    if (claim == nullptr || claim->needs_seed || peer == nullptr) continue;
    const UpdateNumber journaled(peer->journaled.load());
    if (!streams(name)) continue;
    const auto passed = [&](const Segment& segment) {
      return !segment.active && claim->at.number < segment.last && segment.last <= journaled;
    };
    if (std::ranges::none_of(segments, passed)) continue;
    HOTBACKUP_ASSIGN(const auto at, journal::position_at(group_.journal_directory(), group_.id(),
                                                         std::min(journaled, group_.published())));
    HOTBACKUP_TRY(change_record(group_, [&](Record& changed) {
      Claim& moved = changed.of(name);
      if (!moved.needs_seed && moved.at.number < at.number) moved.at = at;
    }));
  }
  return {};
}

Result<bool> JournalKeeper::retire_oldest(const std::vector<Segment>& segments, bool though_young) {
  if (segments.size() < 2) return false;
  const Segment& oldest = segments.front();
  HOTBACKUP_ASSIGN(const Hold most, holds_most());
  if (most.through < oldest.last) return false;
  if (rules_.keep && !though_young) {
    const auto closed = begin_of(group_, segments[1]);
    if (!closed || wall_now() - *closed < *rules_.keep) return false;
  }
  if (group_.role() == control::Role::kMaster) {
    HOTBACKUP_TRY(make_durable(oldest.last));
    HOTBACKUP_TRY(control::note_last_words(group_));
  }
  HOTBACKUP_TRY(journal::retire_segment(group_.journal_directory(), oldest.first,
                                        group_.layout().segment_bytes));
  return true;
}

// With the journal in front of it LMDB syncs no meta page, and with NOSYNC nothing: what the
// journal gives up must be durable in the data file by then, or a power loss takes it from both.
Result<> JournalKeeper::make_durable(UpdateNumber through) {
  if (through <= durable_) return {};
  const UpdateNumber decided = group_.published();  // committed in LMDB, and so in these files
  for (std::uint32_t n = 1; n <= group_.environment_count(); ++n) {
    const control::EnvironmentEntry* entry = group_.environment(EnvironmentNumber(n));
    if (entry == nullptr) continue;
    const std::string file = lmdb::data_file(entry->path, entry->subdirectory != 0);
    Result<> synced;
    if (unsynced_.contains(file))
      synced = fail(ErrorCode::kIo, file + " could not be synced earlier");
    else
      synced = sync_file_(file);
    if (synced) continue;
    // A second sync would succeed without having written what the first one lost (rule R10). A file
    // that could not be opened was not synced at all.
    if (synced.error().code() != ErrorCode::kRefused) unsynced_.insert(file);
    if (!group_.incidents().find(kSyncFailed, entry->name))
      group_.incidents().raise(kSyncFailed, entry->name, synced.error().text());
    return synced;
  }
  group_.incidents().clear_all(kSyncFailed);
  durable_ = decided;
  return {};
}

bool JournalKeeper::has_room(const std::vector<Segment>& segments) const {
  return !rules_.limit_bytes ||
         bytes_of(segments) + group_.layout().segment_bytes <= *rules_.limit_bytes;
}

// At the limit the wish to keep history goes first, then what was configured. A slave is released
// only when it is what holds the most: to release another would throw its place away for nothing.
Result<> JournalKeeper::keep_to_limit(std::vector<Segment>& segments,
                                      std::vector<std::string>& forgotten) {
  while (!has_room(segments)) {
    HOTBACKUP_ASSIGN(const bool retired, retire_oldest(segments, /*though_young=*/true));
    if (retired) {
      segments.erase(segments.begin());
      continue;
    }
    HOTBACKUP_ASSIGN(const Hold most, holds_most());
    if (most.kind == Hold::Kind::kCopies && !std::exchange(wants_durable_copies_, true)) return {};
    if (segments.size() >= 2 && rules_.at_limit == config::AtJournalLimit::kForgetSlave) {
      if (most.kind == Hold::Kind::kSlave) {
        if (streams(most.name) && bytes_of(segments) <= *rules_.limit_bytes) return {};
        HOTBACKUP_TRY(forget_slave(most, forgotten));
        continue;
      }
    }
    tell_at_limit(segments);
    return {};
  }
  wants_durable_copies_ = false;
  if (!told_.empty() || group_.incidents().find(kAtLimit)) group_.incidents().clear(kAtLimit);
  told_.clear();
  return {};
}

Result<Hold> JournalKeeper::holds_most() const {
  HOTBACKUP_ASSIGN(const auto record, read_record(group_));
  return holds(group_, rules_, record).front();
}

/// A link that streams may be behind by the moment it takes to be acknowledged.
bool JournalKeeper::streams(std::string_view peer) const {
  const control::PeerEntry* entry = group_.peer(peer);
  return entry != nullptr &&
         entry->link.load() == static_cast<std::uint32_t>(control::LinkState::kStreaming);
}

Result<> JournalKeeper::forget_slave(const Hold& most, std::vector<std::string>& forgotten) {
  HOTBACKUP_TRY(forget(group_, most.name));
  group_.incidents().raise(kForgotten, most.name,
                           "the journal reached its limit of " + human_bytes(*rules_.limit_bytes) +
                               ": slave " + most.name + " was released after update " +
                               human_count(most.through.value) + " and needs a seed");
  forgotten.push_back(most.name);
  return {};
}

void JournalKeeper::tell_at_limit(const std::vector<Segment>& segments) {
  std::string holder = "its one segment";
  if (const auto most = holds_most(); most && segments.size() >= 2) holder = most->describe();
  std::string text =
      "the journal is at its limit of " + human_bytes(*rules_.limit_bytes) + ", held by " + holder;
  if (rules_.at_limit == config::AtJournalLimit::kRefuse)
    text += group_.role() == control::Role::kMaster ? "; commits that need more are refused"
                                                    : "; no more is received than fits";
  if (text == told_) return;
  told_ = text;
  group_.incidents().raise(kAtLimit, "", text);
}

// A spare is part of the journal: none that would lead beyond the limit.
Result<> JournalKeeper::tidy_spares(const std::vector<Segment>& segments) {
  const std::uint64_t size = group_.layout().segment_bytes;
  std::uint64_t room = ~std::uint64_t{0};
  if (rules_.limit_bytes)
    room = *rules_.limit_bytes - std::min(*rules_.limit_bytes, bytes_of(segments));
  if (room < size) return journal::remove_spares(group_.journal_directory(), 0);
  HOTBACKUP_TRY(journal::remove_spares(group_.journal_directory(), room / size));
  return journal::prepare_spare(group_.journal_directory(), size);
}

}  // namespace hotbackup::retention
