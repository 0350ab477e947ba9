// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/history.h"

#include <algorithm>
#include <optional>

#include "tools/resync/frames.h"
#include "tools/resync/segment_volume.h"
#include "tools/resync/streams.h"

namespace hotbackup::resync {
namespace {

/// A save shows nothing that was committed later.
std::int64_t newest_commit(const Found& save) {
  return save.head.value("commit_time_ns", save.time_ns());
}

bool before(const Found& save, const Target& target) {
  switch (target.kind) {
    case Target::Kind::kNumber:
      return save.number() <= target.number;
    case Target::Kind::kTime:
      return newest_commit(save) <= target.time_ns;
    case Target::Kind::kMark:
    case Target::Kind::kEnd:
      return true;
  }
  return true;
}

/// Where a mark is known to be; 0 where no volume lists it.
std::uint64_t mark_number(const std::vector<const Found*>& volumes, const std::string& name) {
  std::uint64_t number = 0;
  for (const Found* volume : volumes)
    for (const Json& mark : volume->end.value("marks", Json::array()))
      if (mark.value("name", "") == name) number = mark.value("number", std::uint64_t{0});
  return number;
}

Chain extend(const Found& save, const std::vector<const Found*>& volumes) {
  Chain chain{&save, {}, save.number()};
  for (;;) {
    const Found* best = nullptr;
    for (const Found* volume : volumes)
      if (volume->first() <= chain.last + 1 && volume->last() > chain.last &&
          (best == nullptr || volume->last() > best->last()))
        best = volume;
    if (best == nullptr) return chain;
    chain.volumes.push_back(best);
    chain.last = best->last();
  }
}

std::int64_t known_until(const Chain& chain) {
  std::int64_t time = chain.save->time_ns();
  for (const Found* volume : chain.volumes)
    time = std::max(time, volume->end.value("time_ns", std::int64_t{0}));
  return time;
}

bool reaches(const Chain& chain, const Target& target) {
  if (target.kind == Target::Kind::kNumber) return chain.last >= target.number;
  if (target.kind == Target::Kind::kTime) return known_until(chain) >= target.time_ns;
  return true;
}

std::string when(std::int64_t ns) {
  return iso8601(WallTime(std::chrono::nanoseconds(ns)));
}

struct Usable {
  std::vector<const Found*> saves;
  std::vector<const Found*> volumes;
};
Usable usable(const std::vector<Found>& found, const std::string& group_id,
              std::vector<std::string>* notes) {
  Usable all;
  for (const Found& one : found) {
    if (!one.problem.empty()) {
      if (notes != nullptr) notes->push_back("not used: " + one.problem);
    } else if (one.group_id() == group_id) {
      (one.volume ? all.volumes : all.saves).push_back(&one);
    }
  }
  return all;
}

}  // namespace

std::string describe_range(const std::vector<Found>& found, const std::string& group_id) {
  const Usable all = usable(found, group_id, nullptr);
  std::string text;
  std::uint64_t covered = 0;
  for (const Found* save : all.saves) {
    const Chain chain = extend(*save, all.volumes);
    if (chain.last <= covered && covered != 0) continue;
    if (!text.empty()) text += ", ";
    text += std::to_string(save->number());
    if (chain.last != save->number()) text += " … " + std::to_string(chain.last);
    text += " (" + when(newest_commit(*save)) + " … " + when(known_until(chain)) + ")";
    covered = chain.last;
  }
  return text.empty() ? "nothing" : "updates " + text;
}

Result<Choice> choose_chains(const std::vector<Found>& found, const std::string& group_id,
                             const Target& wanted) {
  Choice choice;
  const Usable all = usable(found, group_id, &choice.notes);
  if (all.saves.empty())
    return fail(choice.notes.empty() ? ErrorCode::kNotFound : ErrorCode::kCorrupt,
                choice.notes.empty() ? "there is no save there" : choice.notes.front());
  Target target = wanted;
  if (target.kind == Target::Kind::kMark) {
    target.kind = Target::Kind::kNumber;
    target.number = mark_number(all.volumes, wanted.mark);
    if (target.number == 0)
      return fail(ErrorCode::kRefused, "there is no mark " + wanted.mark +
                                           " in the volumes there; what can be restored: " +
                                           describe_range(found, group_id));
  }
  choice.target = target;
  for (auto save = all.saves.rbegin(); save != all.saves.rend(); ++save) {
    if (!before(**save, target)) continue;
    Chain chain = extend(**save, all.volumes);
    if (reaches(chain, target)) choice.chains.push_back(std::move(chain));
  }
  if (choice.chains.empty())
    return fail(ErrorCode::kRefused, wanted.text + " is outside of what can be restored: " +
                                         describe_range(found, group_id));
  // The newest save needs the least replay; at the end what counts is how far it goes.
  if (target.kind == Target::Kind::kEnd)
    std::stable_sort(choice.chains.begin(), choice.chains.end(),
                     [](const Chain& a, const Chain& b) { return a.last > b.last; });
  std::uint64_t beyond = 0;
  for (const Found* volume : all.volumes)
    if (volume->first() > choice.chains.front().last + 1 &&
        (beyond == 0 || volume->first() < beyond))
      beyond = volume->first();
  if (target.kind == Target::Kind::kEnd && beyond != 0)
    choice.notes.push_back("a volume is missing: updates " +
                           std::to_string(choice.chains.front().last + 1) + " … " +
                           std::to_string(beyond - 1) + " are in no file there");
  return choice;
}

namespace {

/// A container or a segment as frames.
struct OpenVolume {
  const Found& file;
  std::unique_ptr<ContainerReader> reader;  // none: a segment
  GroupId group;
  UpdateNumber first;
  ChainHash before;

  static Result<OpenVolume> open(const Found& of, const std::string& filter) {
    OpenVolume volume{of, nullptr, {}, {}, {}};
    Json head = of.head;
    if (!of.segment) {
      HOTBACKUP_ASSIGN(auto source, open_source(of.path, of.filter(filter)));
      HOTBACKUP_ASSIGN(volume.reader, ContainerReader::open(std::move(source), of.path));
      head = volume.reader->head().text;
    }
    HOTBACKUP_ASSIGN(volume.group, GroupId::from_hex(head.value("group_id", "")));
    HOTBACKUP_ASSIGN(volume.before, chain_from_hex(head.value("chain", "")));
    volume.first = UpdateNumber(head.value("first", std::uint64_t{1}));
    return volume;
  }

  /// Whatever is wrong names the file.
  Result<> each(const std::function<Result<>(const journal::FrameView&)>& visit) const {
    if (!reader) {
      auto read = read_segment(file, visit);
      if (!read) return fail(std::move(read).error().with_context(file.path));
      return read;
    }
    for (;;) {
      HOTBACKUP_ASSIGN(const auto block, reader->next());
      if (!block) return {};
      if (block->kind != BlockKind::kFrames) continue;
      auto read = each_frame(block->raw, visit);
      if (!read) return fail(std::move(read).error().with_context(file.path));
    }
  }
};

}  // namespace

bool Until::takes(const journal::FrameHeader& header) const {
  switch (target_.kind) {
    case Target::Kind::kNumber:
      return header.number.value <= target_.number;
    case Target::Kind::kTime:
      return header.commit_time.time_since_epoch().count() <= target_.time_ns;
    case Target::Kind::kMark:
    case Target::Kind::kEnd:
      return true;
  }
  return true;
}

Result<> read_volumes(const std::vector<const Found*>& volumes, const Position& from,
                      const std::string& filter,
                      const std::function<Result<bool>(const journal::FrameView&)>& visit) {
  UpdateNumber next = from.number.next();
  std::optional<ChainHash> chain = from.chain;
  for (const Found* volume : volumes) {
    if (volume->filtered && filter.empty())
      return fail(ErrorCode::kConfig, volume->path +
                                          " went through a filter: --filter names the "
                                          "command that brings it back");
    HOTBACKUP_ASSIGN(auto opened, OpenVolume::open(*volume, filter));
    if (opened.first > next)
      return fail(ErrorCode::kGap, volume->path + " begins with update " +
                                       std::to_string(opened.first.value) + ": " +
                                       std::to_string(next.value) + " was due");
    journal::FrameSequence sequence(opened.group, opened.first, opened.before);
    bool more = true;
    const auto read = opened.each([&](const journal::FrameView& frame) -> Result<> {
      const bool starts = sequence.at_boundary();
      if (starts && sequence.next_number() == next && chain && sequence.chain() != *chain)
        return fail(ErrorCode::kDiverged, "update " + std::to_string(next.value) +
                                              " does not follow the history before it");
      HOTBACKUP_TRY(sequence.accept(frame));
      if (more && frame.header.number >= next) {
        HOTBACKUP_ASSIGN(more, visit(frame));
      }
      if (sequence.at_boundary() && sequence.next_number() > next) {
        next = sequence.next_number();
        chain = sequence.chain();
      }
      return {};
    });
    if (!read) return fail(read.error());
    if (!sequence.at_boundary())
      return fail(ErrorCode::kCorrupt, volume->path + " ends inside an update");
    if (!more) return {};
  }
  return {};
}

}  // namespace hotbackup::resync
