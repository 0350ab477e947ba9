// SPDX-License-Identifier: Apache-2.0
#include "slave/rejoiner.h"

#include <algorithm>
#include <limits>

#include "common/journal/reader.h"
#include "common/orphan/orphan_set.h"
#include "slave/applied_file.h"
#include "slave/touched.h"

namespace hotbackup::slave {
namespace {

/// The journal is cut, and from here on the applier undoes before it applies anything.
Result<> complete(control::Group& group, Rejoin rejoin) {
  const UpdateNumber reach = std::max(rejoin.through, rejoin.base);
  HOTBACKUP_TRY(write_applied(group, {rejoin.base, reach}));
  {
    HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
    HOTBACKUP_TRY(group.journal().cut_after(lock, rejoin.common));
  }
  group.set_epoch(rejoin.common.epoch);
  rejoin.phase = Rejoin::Phase::kCut;
  return write_rejoin(group, rejoin);
}

constexpr UpdateNumber kNever{std::numeric_limits<std::uint64_t>::max()};

}  // namespace

Result<std::optional<UpdateNumber>> agree(control::Group& group,
                                          const std::vector<Position>& positions) {
  for (auto at = positions.rbegin(); at != positions.rend(); ++at) {
    if (at->number > group.made()) continue;
    const auto here = journal::position_at(group.journal_directory(), group.id(), at->number);
    if (!here && here.error().code() == ErrorCode::kGap) return std::nullopt;
    if (!here) return fail(here.error());
    if (here->chain == at->chain) return at->number;
  }
  return std::nullopt;
}

// What an attempt kept whose journal was never cut lies in the journal still, and is kept anew.
Result<> Rejoiner::keep(const Position& common, const std::string& master) {
  HOTBACKUP_ASSIGN(const auto applied, read_applied(group_));
  HOTBACKUP_ASSIGN(const auto before, read_rejoin(group_.directory()));
  state_ = Rejoin{};
  state_.common = common;
  state_.base = std::min(applied ? applied->lower : UpdateNumber(0), common.number);
  std::optional<std::string> replaced;
  if (before) {
    state_.base = std::min(state_.base, before->base);
    state_.undo = before->undo;
    if (before->phase == Rejoin::Phase::kOrphans) {
      replaced = state_.undo.back();
      state_.undo.pop_back();
    }
  }
  HOTBACKUP_ASSIGN(const auto name, orphan::write(group_, common, master));
  if (std::find(state_.undo.begin(), state_.undo.end(), name) == state_.undo.end())
    state_.undo.push_back(name);
  HOTBACKUP_TRY(write_rejoin(group_, state_));
  if (replaced && *replaced != name) {
    HOTBACKUP_ASSIGN(const auto old, orphan::read(group_.directory(), *replaced));
    HOTBACKUP_TRY(orphan::remove(group_.directory(), old));
  }
  HOTBACKUP_ASSIGN(const auto set, orphan::read(group_.directory(), name));
  orphans_ = set.count;
  return {};
}

Result<> Rejoiner::begin(const Position& common, const std::string& master) {
  copies_.close_all();
  HOTBACKUP_TRY(group_.journal().sync_through(group_.made()));
  HOTBACKUP_TRY(keep(common, master));
  HOTBACKUP_TRY(orphan::note_open(group_));
  HOTBACKUP_ASSIGN(wanted_, RecordFile::create(rejoin_wanted_path(group_), group_.permissions()));
  HOTBACKUP_ASSIGN(items_, RecordFile::create(rejoin_items_path(group_), group_.permissions()));
  HOTBACKUP_TRY(collect_touched(group_, state_.undo, *wanted_));
  wanted_bytes_ = wanted_->offset();
  wanted_->rewind();
  return {};
}

Result<std::optional<wire::Fetch>> Rejoiner::next_request() {
  HOTBACKUP_ASSIGN(auto record, wanted_->next(wanted_bytes_));
  if (!record) return std::nullopt;
  HOTBACKUP_TRY(items_->append(record->environment, record->body));
  return wire::Fetch{record->environment, std::move(record->body)};
}

Result<> Rejoiner::part(EnvironmentNumber environment, std::string_view body) {
  return items_->append(environment, body);
}

Result<> Rejoiner::answered(const Position& at) {
  if (at.number <= state_.common.number || (at_ && *at_ != at))
    return fail(ErrorCode::kProtocol,
                "the answers show update " + std::to_string(at.number.value) + ": that cannot be");
  at_ = at;
  return {};
}

Result<> Rejoiner::finish() {
  HOTBACKUP_TRY(items_->sync());
  state_.phase = Rejoin::Phase::kFetched;
  state_.through = at_ ? at_->number : state_.common.number;
  state_.bytes = items_->offset();
  items_.reset();
  wanted_.reset();
  HOTBACKUP_TRY(write_rejoin(group_, state_));
  return resume(group_);
}

// Where there is nothing to undo, the end of the journal's cut is the end of it all.
Result<> Rejoiner::resume(control::Group& group) {
  HOTBACKUP_ASSIGN(const auto rejoin, read_rejoin(group.directory()));
  if (!rejoin || rejoin->phase == Rejoin::Phase::kOrphans) return {};
  group.layout().applied.store(rejoin->base.value);
  if (rejoin->phase == Rejoin::Phase::kFetched) HOTBACKUP_TRY(complete(group, *rejoin));
  return rejoin->bytes == 0 ? remove_rejoin(group) : Result<>();
}

Result<> Rejoiner::call_off(control::Group& group) {
  HOTBACKUP_ASSIGN(const auto rejoin, read_rejoin(group.directory()));
  if (!rejoin || rejoin->phase != Rejoin::Phase::kOrphans) return {};
  if (rejoin->undo.size() > 1)
    return fail(ErrorCode::kRefused,
                "the copies were being brought onto another master's history, which this one does "
                "not go on from");
  HOTBACKUP_ASSIGN(const auto set, orphan::read(group.directory(), rejoin->undo.front()));
  HOTBACKUP_TRY(remove_rejoin(group));
  HOTBACKUP_TRY(orphan::remove(group.directory(), set));
  return orphan::note_open(group);
}

Result<std::optional<Rejoin>> pending_undo(const control::Group& group) {
  HOTBACKUP_ASSIGN(auto rejoin, read_rejoin(group.directory()));
  // Copies whose undoing was begun anew show nothing whole until that has been fetched.
  if (rejoin && rejoin->phase == Rejoin::Phase::kOrphans && rejoin->undo.size() > 1)
    rejoin->through = kNever;
  else if (rejoin && rejoin->phase != Rejoin::Phase::kCut)
    rejoin.reset();
  return rejoin;
}

}  // namespace hotbackup::slave
