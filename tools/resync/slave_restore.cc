// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/slave_restore.h"

#include "slave/seeder.h"
#include "tools/resync/progress.h"
#include "tools/resync/save.h"
#include "tools/resync/save_reader.h"

namespace hotbackup::resync {
namespace {

Result<> adopt(control::Group& group, const Json& head) {
  HOTBACKUP_ASSIGN(const auto id, GroupId::from_hex(head.value("group_id", "")));
  if (group.id().is_none()) return group.adopt_id(id, head.value("node", ""));
  if (group.id() == id) return {};
  return fail(ErrorCode::kRefused, "the save is of another group, " + head.value("group", "") +
                                       " (" + id.to_hex() + ")");
}

class Seed {
 public:
  Seed(control::Group& group, const Position& at, bool replace)
      : copies_(group), seeder_(group, copies_), at_(at), replace_(replace) {}

  /// Environments come first, all of them before the first item.
  Result<> frame(const journal::FrameView& frame) {
    if (frame.header.kind == journal::FrameKind::kEnvironment) {
      HOTBACKUP_ASSIGN(auto body, update::read_environment(frame.body));
      environments_.push_back(std::move(body));
      return {};
    }
    HOTBACKUP_TRY(begin());
    return seeder_.part(frame.header.environment, frame.body);
  }
  Result<> end(std::uint64_t items) {
    HOTBACKUP_TRY(begin());
    return seeder_.end(items);
  }
  std::uint64_t items() const { return seeder_.items(); }
  const std::vector<update::EnvironmentBody>& environments() const { return environments_; }

 private:
  Result<> begin() {
    if (std::exchange(begun_, true)) return {};
    return seeder_.begin(at_, environments_, replace_);
  }
  slave::Copies copies_;
  slave::Seeder seeder_;
  const Position at_;
  const bool replace_;
  bool begun_ = false;
  std::vector<update::EnvironmentBody> environments_;
};

}  // namespace

Result<Restored> restore_on_slave(control::Group& group, const Chain& chain, const Target& target,
                                  const std::string& filter, bool replace) {
  const std::string name = group.layout().group_name;
  if (group.server_alive(control::Group::Server::kSlave))
    return fail(ErrorCode::kFenced, "hotbackup-slave serves group " + name +
                                        ": stop it for the restore, it goes on from there");
  HOTBACKUP_ASSIGN(auto reader, SaveReader::open(chain.save->path, chain.save->filter(filter)));
  Restored restored;
  restored.head = reader->head();
  HOTBACKUP_TRY(adopt(group, restored.head));
  HOTBACKUP_ASSIGN(const auto hash, chain_from_hex(restored.head.value("chain", "")));
  restored.position = {epoch_of(restored.head),
                       UpdateNumber(restored.head.value("number", std::uint64_t{0})), hash};
  Seed seed(group, restored.position, replace);
  Progress progress("restoring " + name, restored.head.value("items", std::uint64_t{0}));
  std::uint64_t bytes = 0;
  for (;;) {
    HOTBACKUP_ASSIGN(const auto block, reader->next());
    if (!block) break;
    bytes += block->raw.size();
    if (block->kind == BlockKind::kFrames)
      HOTBACKUP_TRY(each_frame(block->raw, [&](const auto& frame) { return seed.frame(frame); }));
    progress.at(seed.items(), bytes);
  }
  HOTBACKUP_TRY(seed.end(reader->end().value("items", std::uint64_t{0})));
  restored.items = seed.items();
  restored.content_hash = reader->end().value("content_hash", "");
  for (const auto& body : seed.environments())
    if (const auto* entry = group.environment(body.number))
      restored.environments.push_back({body, entry->path, {}, {}});

  const Until until(target);
  const std::uint64_t base = restored.position.number.value;
  const auto read = read_volumes(chain.volumes, restored.position, filter,
                                 [&](const journal::FrameView& frame) -> Result<bool> {
                                   if (frame.header.part == 0 && !until.takes(frame.header))
                                     return false;
                                   HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
                                   HOTBACKUP_TRY(group.journal().append_received(lock, frame));
                                   if (frame.header.last_part)
                                     restored.position = {frame.header.epoch, frame.header.number,
                                                          journal::chain_after(frame.bytes)};
                                   return true;
                                 });
  if (!read) return fail(read.error());
  HOTBACKUP_TRY(group.journal().sync_through(group.made()));
  restored.updates = restored.position.number.value - base;
  return restored;
}

}  // namespace hotbackup::resync
