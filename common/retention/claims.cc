// SPDX-License-Identifier: Apache-2.0
#include "common/retention/claims.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <sstream>

#include "common/control/sealed_text.h"
#include "common/os/unique_fd.h"

namespace hotbackup::retention {
namespace {

constexpr std::string_view kTitle = "hotbackup retention 1";

std::string path_of(const control::Group& group) {
  return group.directory() + "/retention";
}

/// What loses nothing where it is not known who needs what.
Record everything(const control::Group& group) {
  Record record;
  const control::Layout& layout = group.layout();
  for (std::uint32_t i = 0; i < layout.peer_count.load(); ++i) record.of(layout.peers[i].name);
  return record;
}

bool parse(const std::string& text, Record& record) {
  std::istringstream lines(text);
  std::string word;
  while (lines >> word) {
    if (word == "archived") {
      if (!(lines >> record.archived.value)) return false;
      continue;
    }
    Claim claim;
    claim.needs_seed = word == "forgotten";
    if (word != "claim" && !claim.needs_seed) return false;
    Position& at = claim.at;
    if (!(lines >> claim.peer >> at.number.value >> at.chain.low >> at.chain.high >>
          at.epoch.counter >> at.epoch.node.value >> claim.seed_from.value))
      return false;
    record.claims.push_back(std::move(claim));
  }
  return true;
}

std::string print(const Record& record) {
  std::ostringstream out;
  out << "archived " << record.archived.value << "\n";
  for (const Claim& claim : record.claims)
    out << (claim.needs_seed ? "forgotten " : "claim ") << claim.peer << " "
        << claim.at.number.value << " " << claim.at.chain.low << " " << claim.at.chain.high << " "
        << claim.at.epoch.counter << " " << claim.at.epoch.node.value << " "
        << claim.seed_from.value << "\n";
  return out.str();
}

}  // namespace

const Claim* Record::find(std::string_view peer) const {
  const auto found = std::ranges::find(claims, peer, &Claim::peer);
  return found == claims.end() ? nullptr : &*found;
}

Claim& Record::of(std::string_view peer) {
  const auto found = std::ranges::find(claims, peer, &Claim::peer);
  if (found != claims.end()) return *found;
  claims.emplace_back().peer = peer;
  return claims.back();
}

Result<Record> read_record(const control::Group& group) {
  auto text = control::read_sealed(path_of(group), kTitle);
  if (!text && text.error().code() == ErrorCode::kNotFound) return Record{};
  if (!text && text.error().code() == ErrorCode::kCorrupt) return everything(group);
  if (!text) return fail(std::move(text).error());
  Record record;
  if (!parse(*text, record)) return everything(group);
  return record;
}

Result<> change_record(control::Group& group, const std::function<void(Record&)>& change) {
  const os::UniqueFd directory(
      ::open(group.directory().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return fail_errno("opening " + group.directory());
  while (::flock(directory.get(), LOCK_EX) != 0)
    if (errno != EINTR) return fail_errno("locking " + group.directory());
  HOTBACKUP_ASSIGN(auto record, read_record(group));
  const std::string before = print(record);
  change(record);
  const std::string after = print(record);
  if (after == before) return {};
  return control::write_sealed(path_of(group), kTitle, after, group.permissions());
}

Result<> hold(control::Group& group, std::string_view peer, const Position& at) {
  return change_record(group, [&](Record& record) {
    Claim& claim = record.of(peer);
    claim.at = at;
    claim.needs_seed = false;
    claim.seed_from = {};
  });
}

Result<> hold_for_seed(control::Group& group, std::string_view peer, UpdateNumber from) {
  return change_record(group, [&](Record& record) {
    Claim& claim = record.of(peer);
    claim.needs_seed = true;
    claim.seed_from = from;
  });
}

Result<> forget(control::Group& group, std::string_view peer) {
  HOTBACKUP_ASSIGN(const Record known, read_record(group));
  const Claim* claim = known.find(peer);
  if (claim == nullptr || !claim->holds())
    return fail(ErrorCode::kNotFound, std::string(peer) + " has no claim on the journal");
  // The record is written once a segment; what the slave acknowledged last is newer.
  Position last = claim->at;
  const control::PeerEntry* entry = group.peer(peer);
  const UpdateNumber journaled(entry == nullptr ? 0 : entry->journaled.load());
  if (!claim->needs_seed && journaled > last.number && journaled <= group.published()) {
    auto there = journal::position_at(group.journal_directory(), group.id(), journaled);
    if (there) last = *there;
  }
  return change_record(group, [&](Record& record) {
    Claim& released = record.of(peer);
    released.at = last;
    released.needs_seed = true;
    released.seed_from = {};
  });
}

std::optional<Claim> claim_of(const control::Group& group, std::string_view peer) {
  const auto record = read_record(group);
  if (!record) return std::nullopt;
  const Claim* claim = record->find(peer);
  return claim == nullptr ? std::nullopt : std::optional<Claim>(*claim);
}

}  // namespace hotbackup::retention
