// SPDX-License-Identifier: Apache-2.0
// Keep-local rules in the control file: every process of the group reads them there.
#include <cstring>

#include "common/control/group.h"

namespace hotbackup::control {
namespace {

static_assert(kKeepLocalBytesMax == update::kKeepLocalBytesMax);

Result<update::KeepLocalRules> parse_lines(std::string_view lines) {
  std::vector<std::string> texts;
  while (!lines.empty()) {
    const std::size_t end = lines.find('\n');
    if (end == std::string_view::npos) return fail(ErrorCode::kCorrupt, "keep-local rules are cut");
    texts.emplace_back(lines.substr(0, end));
    lines.remove_prefix(end + 1);
  }
  return update::KeepLocalRules::parse(texts);
}

}  // namespace

// Written under the append lock, or before anybody else has the file.
void Group::put_keep_local(const std::vector<update::EnvironmentRules>& rules) {
  std::atomic<std::uint32_t>& sequence = layout_->keep_local_sequence;
  sequence.fetch_add(sequence.load() % 2 == 0 ? 1 : 2);
  std::uint32_t count = 0;
  for (const update::EnvironmentRules& kept : rules) {
    if (count == kPatternsMax) break;
    std::string lines;
    for (const std::string& text : kept.rules.texts()) lines += text + "\n";
    KeepLocalEntry& entry = layout_->keep_local[count++];
    copy_text(entry.environment, sizeof entry.environment, kept.environment);
    copy_text(entry.rules, sizeof entry.rules, lines);
  }
  layout_->keep_local_count.store(count);
  sequence.fetch_add(1);
}

Result<std::vector<update::EnvironmentRules>> Group::keep_local() const {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const std::uint32_t before = layout_->keep_local_sequence.load();
    if (before % 2 != 0) continue;
    std::vector<std::pair<std::string, std::string>> found;
    const std::uint32_t count = std::min<std::uint32_t>(layout_->keep_local_count.load(),
                                                        static_cast<std::uint32_t>(kPatternsMax));
    for (std::uint32_t i = 0; i < count; ++i) {
      const KeepLocalEntry& entry = layout_->keep_local[i];
      found.emplace_back(
          std::string(entry.environment, ::strnlen(entry.environment, sizeof entry.environment)),
          std::string(entry.rules, ::strnlen(entry.rules, sizeof entry.rules)));
    }
    if (layout_->keep_local_sequence.load() != before) continue;
    std::vector<update::EnvironmentRules> all;
    for (auto& [environment, lines] : found) {
      HOTBACKUP_ASSIGN(auto rules, parse_lines(lines));
      all.push_back({std::move(environment), std::move(rules)});
    }
    return all;
  }
  return fail(ErrorCode::kBusy, "the keep-local rules of group " +
                                    std::string(layout_->group_name) +
                                    " are half changed: type hotbackup init again");
}

Result<update::KeepLocalRules> Group::keep_local(std::string_view configured) const {
  if (layout_->keep_local_count.load() == 0 && layout_->keep_local_sequence.load() % 2 == 0)
    return update::KeepLocalRules();
  HOTBACKUP_ASSIGN(auto all, keep_local());
  for (update::EnvironmentRules& kept : all)
    if (kept.environment == configured) return std::move(kept.rules);
  return update::KeepLocalRules();
}

// Nobody else is about to commit, so what was announced and is not LMDB's number never happened.
bool Group::accounts_for(EnvironmentEntry& entry, TxnId last) {
  const std::uint64_t expected = entry.last_txnid.load();
  const std::uint64_t begun = entry.applying_txnid.exchange(0);
  if (expected == last.value || entry.baselined.load() != 0) return true;
  if (expected != 0 && begun != last.value) return false;
  entry.last_txnid.store(last.value);
  return true;
}

std::string Group::describe_foreign_write(const EnvironmentEntry& entry, TxnId last) {
  return "somebody else wrote to the copy " + std::string(entry.path) + ": its transaction id is " +
         std::to_string(last.value) + ", not " + std::to_string(entry.last_txnid.load());
}

}  // namespace hotbackup::control
