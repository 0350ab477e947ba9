// SPDX-License-Identifier: Apache-2.0
#include "master/environment_watch.h"

#include "common/lmdb/environment.h"
#include "common/lmdb/meta.h"

namespace hotbackup::master {
namespace {

constexpr char kReplaced[] = "HB-replaced";

/// What is due, read while no captured commit is under way.
struct Due {
  std::uint64_t txnid = 0;
  std::uint64_t inode = 0;
  bool operator==(const Due&) const = default;
};

std::optional<Due> read_due(const control::EnvironmentEntry& entry) {
  if (entry.recovery_due.load() != 0 || entry.baselined.load() == 0 ||
      entry.slot.number.load() != 0)
    return std::nullopt;
  return Due{entry.last_txnid.load(), entry.inode.load()};
}

}  // namespace

Result<> EnvironmentWatch::look(control::Group& group) {
  Result<> first;
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n) {
    control::EnvironmentEntry* entry = group.environment(EnvironmentNumber(n));
    if (entry == nullptr) continue;
    auto looked = look_at(group, *entry);
    if (!looked && first) first = std::move(looked);
  }
  return first;
}

// A captured commit keeps its slot open from before LMDB's commit until the number that is due has
// moved. So where slot and number are the same before and after the look, the two belong together.
Result<> EnvironmentWatch::look_at(control::Group& group, control::EnvironmentEntry& entry) {
  const auto due = read_due(entry);
  if (!due) return {};
  const auto meta = lmdb::peek_meta(lmdb::data_file(entry.path, entry.subdirectory != 0));
  if (read_due(entry) != due) return {};
  if (!meta && meta.error().code() != ErrorCode::kNotFound)
    return fail(Error(meta.error()).with_context("environment " + std::string(entry.name)));
  if (!meta) return replaced(group, entry, "is gone");
  if (due->inode != 0 && meta->inode != due->inode) return replaced(group, entry, "was replaced");
  group.incidents().clear(kReplaced, entry.name);
  if (meta->last_txnid.value == due->txnid) {
    noted_.erase(entry.number);
    return {};
  }
  if (const auto noted = noted_.find(entry.number);
      noted != noted_.end() && noted->second == meta->last_txnid)
    return {};
  noted_[entry.number] = meta->last_txnid;
  return group.set_unlogged(entry, "environment " + std::string(entry.name) +
                                       " was written without capture: its last transaction is " +
                                       std::to_string(meta->last_txnid.value) + ", not " +
                                       std::to_string(due->txnid));
}

Result<> EnvironmentWatch::replaced(control::Group& group, control::EnvironmentEntry& entry,
                                    std::string_view how) {
  if (group.incidents().find(kReplaced, entry.name)) return {};
  const std::string text = "the data file of environment " + std::string(entry.name) + ", " +
                           entry.path + ", " + std::string(how);
  group.incidents().raise(kReplaced, entry.name, text);
  return group.set_unlogged(entry, text);
}

}  // namespace hotbackup::master
