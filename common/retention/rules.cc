// SPDX-License-Identifier: Apache-2.0
#include "common/retention/rules.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "common/control/sealed_text.h"
#include "common/journal/frame.h"
#include "common/journal/segment.h"

namespace hotbackup::retention {
namespace {

// The title and the first line of docs/formats/applied.md, which the slave's applier writes.
constexpr std::string_view kAppliedTitle = "hotbackup applied 1";

std::string journal_path(const control::Group& group) {
  return group.directory() + "/journal";
}

/// Half of what is free, the journal itself counted as free: else the limit would shrink with it.
std::optional<std::uint64_t> half_of_the_free(control::Group& group) {
  struct statvfs status {};
  if (::statvfs(journal_path(group).c_str(), &status) != 0) return std::nullopt;
  const auto segments = segments_of(group);
  const std::uint64_t free = static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
  const std::uint64_t half = (free + (segments ? bytes_of(*segments) : 0)) / 2;
  return std::max(half, 4 * group.layout().segment_bytes);
}

}  // namespace

Rules rules_of(const config::Group& configuration, control::Group& group) {
  Rules rules;
  rules.keep = configuration.keep_journal;
  rules.limit_bytes = configuration.journal_limit_bytes;
  if (rules.limit_bytes && !configuration.journal_limit_set)
    if (const auto half = half_of_the_free(group))
      rules.limit_bytes = std::min(*rules.limit_bytes, *half);
  rules.at_limit = configuration.at_journal_limit;
  rules.archive = !configuration.archive.empty();
  rules.peers = configuration.peers;
  return rules;
}

std::string Hold::describe() const {
  const std::string update = "update " + human_count(through.value);
  switch (kind) {
    case Kind::kOpenCommit:
      return "a commit that is open, after " + update;
    case Kind::kSlave:
      return "slave " + name + ", which has " + update;
    case Kind::kArchive:
      return "the archive command, which has taken " + update;
    case Kind::kCopies:
      break;
  }
  return "the copies, which hold " + update;
}

std::vector<Hold> holds(const control::Group& group, const Rules& rules, const Record& record) {
  using Kind = Hold::Kind;
  std::vector<Hold> found{{Kind::kOpenCommit, "", group.published()}};
  if (rules.archive) found.push_back({Kind::kArchive, "", record.archived});
  if (group.role() != control::Role::kMaster)
    found.push_back({Kind::kCopies, "", copies_hold(group)});
  else
    for (const std::string& peer : rules.peers)
      if (const Claim* claim = record.find(peer); claim != nullptr && claim->holds())
        found.push_back({Kind::kSlave, peer, *claim->holds()});
  std::ranges::stable_sort(found, {}, &Hold::through);
  return found;
}

Result<std::vector<Segment>> segments_of(control::Group& group) {
  HOTBACKUP_ASSIGN(const auto firsts, journal::list_segments(group.journal_directory()));
  std::vector<Segment> segments;
  for (std::size_t i = 0; i < firsts.size(); ++i) {
    Segment segment;
    segment.first = firsts[i];
    segment.active = i + 1 == firsts.size();
    if (!segment.active) segment.last = firsts[i + 1].previous();
    struct stat status {};
    const std::string path = journal_path(group) + "/" + journal::segment_name(segment.first);
    if (::stat(path.c_str(), &status) == 0)
      segment.bytes = static_cast<std::uint64_t>(status.st_size);
    segments.push_back(segment);
  }
  return segments;
}

std::uint64_t bytes_of(const std::vector<Segment>& segments) {
  std::uint64_t bytes = 0;
  for (const Segment& segment : segments) bytes += segment.bytes;
  return bytes;
}

std::optional<WallTime> begin_of(control::Group& group, const Segment& segment) {
  auto file = group.journal_directory().open(journal::segment_name(segment.first), false);
  if (!file) return std::nullopt;
  char bytes[journal::kFrameHeaderBytes];
  const auto got = (*file)->read_at(journal::kSegmentHeaderBytes, bytes, sizeof bytes);
  if (!got || *got < sizeof bytes) return std::nullopt;
  const auto header = journal::decode({bytes, sizeof bytes});
  if (!header || header->number != segment.first) return std::nullopt;
  return header->commit_time;
}

std::string why_kept(control::Group& group, const Rules& rules) {
  const auto segments = segments_of(group);
  const auto record = read_record(group);
  if (!segments || !record || segments->size() < 2) return {};
  const Hold most = holds(group, rules, *record).front();
  if (most.through < segments->front().last) return most.describe();
  if (rules.keep) {
    const auto closed = begin_of(group, (*segments)[1]);
    if (!closed || wall_now() - *closed < *rules.keep)
      return "keep_journal, " + human_duration(*rules.keep);
  }
  for (const control::Incident& incident : group.incidents().open())
    if (incident.code == "HB-environment-sync-failed") return incident.text;
  return {};
}

UpdateNumber copies_hold(const control::Group& group) {
  const auto text = control::read_sealed(group.directory() + "/applied", kAppliedTitle);
  UpdateNumber lower;
  if (!text || std::sscanf(text->c_str(), "lower %" SCNu64 "\n", &lower.value) != 1) return {};
  return lower;
}

}  // namespace hotbackup::retention
