// SPDX-License-Identifier: Apache-2.0
#include "tools/compare/side.h"

#include <algorithm>

#include "common/base/bytes.h"
#include "common/control/known_difference.h"
#include "common/control/test_environment.h"
#include "common/lmdb/resident_limit.h"
#include "common/roles/compare_child.h"
#include "slave/setaside.h"

namespace hotbackup::compare {
namespace {

using wire::CompareAnswer;
using wire::CompareAsk;
using Kind = CompareAsk::Kind;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kSlice{700};
constexpr std::uint64_t kItemsPerLook = 4096;  // at the clock
constexpr std::size_t kHashBytes = 16;
constexpr std::size_t kDatabasesPerAnswer = 2000;
constexpr std::size_t kItemsPerAnswer = 65536;
constexpr std::size_t kKeptMax = 4'000'000;

void append(std::string& out, const ChainHash& hash) {
  char bytes[kHashBytes];
  store_le(bytes, hash.low);
  store_le(bytes + 8, hash.high);
  out.append(bytes, sizeof bytes);
}

Result<std::vector<std::uint32_t>> indexes(const std::string& body, std::uint32_t bits) {
  std::vector<std::uint32_t> all(body.size() / 4);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i] = load_le<std::uint32_t>(body.data() + 4 * i);
    if (all[i] >> bits != 0) return fail(ErrorCode::kProtocol, "there is no such node");
  }
  return all;
}

}  // namespace

Result<CompareAnswer> LocalSide::ask(const CompareAsk& ask) {
  switch (ask.kind) {
    case Kind::kHold:
    case Kind::kCut:
      return hold(ask);
    case Kind::kSnapshot: {
      CompareAnswer answer;
      HOTBACKUP_ASSIGN(const bool there, snapshots_.reach(ask.number, ask.hold));
      answer.more = !there;
      answer.number = UpdateNumber(group_.layout().applied.load());
      return answer;
    }
    case Kind::kDatabases:
      return databases(ask);
    case Kind::kHash:
      return hash(ask);
    case Kind::kNodes:
      return nodes(ask);
    case Kind::kCollect:
      return collect(ask);
    case Kind::kItems:
      return items(ask);
    case Kind::kReveal:
      return reveal(ask);
    case Kind::kFetch:
      return fetch(ask);
    case Kind::kRepair:
      return repair(ask);
    case Kind::kRelease:
      forget();
      snapshots_.release();
      return CompareAnswer{};
    case Kind::kReport:
      return report(ask);
    case Kind::kEcho:
      return echo(ask);
    case Kind::kClean:
    case Kind::kFound:
      return conclude(ask);
  }
  return fail(ErrorCode::kProtocol, "a question that is not known");
}

void LocalSide::forget() {
  scan_.reset();
  place_.reset();
  tree_.reset();
  kept_.clear();
  places_.clear();
  listed_ = false;
}

Result<CompareAnswer> LocalSide::hold(const CompareAsk& ask) {
  forget();
  CompareAnswer answer;
  HOTBACKUP_ASSIGN(answer.number,
                   ask.kind == Kind::kCut ? snapshots_.cut(ask.hold) : snapshots_.hold());
  return answer;
}

Result<> LocalSide::list() {
  if (listed_) return {};
  for (master::CutEnvironment* environment : snapshots_.environments()) {
    if (control::is_test_environment(group_.environment(environment->number)->name)) continue;
    HOTBACKUP_ASSIGN(const auto all, lmdb::databases(*environment->snapshot));
    for (const lmdb::DatabaseInfo& info : all)
      places_.push_back({environment, info, all.size() > 1});
  }
  listed_ = true;
  return {};
}

Result<CompareAnswer> LocalSide::databases(const CompareAsk& ask) {
  HOTBACKUP_TRY(list());
  CompareAnswer answer;
  for (std::size_t i = ask.from; i < places_.size(); ++i) {
    if (answer.databases.size() == kDatabasesPerAnswer) {
      answer.more = true;
      break;
    }
    const Place& place = places_[i];
    const auto* entry = group_.environment(place.environment->number);
    answer.databases.push_back({place.environment->number, entry->name, place.info.main,
                                place.info.name, place.info.flags, place.info.items});
  }
  return answer;
}

Result<Scan> LocalSide::scan(const Place& place) {
  return Scan::open(*place.environment->snapshot, place.info, place.environment->rules,
                    place.has_named);
}

Result<CompareAnswer> LocalSide::hash(const CompareAsk& ask) {
  HOTBACKUP_TRY(list());
  const bool goes_on = scan_ && place_ && place_->environment->number == ask.environment &&
                       place_->info.main == ask.main && place_->info.name == ask.name;
  if (!goes_on) {
    place_.reset();
    for (const Place& place : places_)
      if (place.environment->number == ask.environment && place.info.main == ask.main &&
          place.info.name == ask.name)
        place_ = place;
    if (!place_) return fail(ErrorCode::kNotFound, "there is no database " + printable(ask.name));
    HOTBACKUP_ASSIGN(scan_, scan(*place_));
    tree_.emplace(std::min(ask.bits, HashTree::kBitsMax));
  }
  CompareAnswer answer;
  const auto end = steady_clock::now() + kSlice;
  for (std::uint64_t count = 1;; ++count) {
    HOTBACKUP_ASSIGN(const auto item, scan_->next());
    if (!item) break;
    tree_->add_item(item->key_hash, hash_item(item->key_hash, item->value));
    if (count % kItemsPerLook == 0 && steady_clock::now() >= end) {
      answer.more = true;
      break;
    }
  }
  lmdb::trim_resident();
  answer.items = scan_->items();
  answer.local = scan_->local();
  answer.bytes = scan_->bytes();
  if (answer.more) return answer;
  scan_.reset();
  append(answer.body, tree_->root());
  return answer;
}

Result<CompareAnswer> LocalSide::nodes(const CompareAsk& ask) {
  if (!tree_ || ask.level >= tree_->bits()) return fail(ErrorCode::kProtocol, "no such level");
  HOTBACKUP_ASSIGN(const auto parents, indexes(ask.body, ask.level));
  const std::uint32_t below = HashTree::below(ask.level, tree_->bits());
  const std::uint32_t fan = 1U << (below - ask.level);
  CompareAnswer answer;
  for (const std::uint32_t parent : parents)
    for (std::uint32_t i = 0; i < fan; ++i)
      append(answer.body, tree_->node(below, parent * fan + i));
  return answer;
}

Result<CompareAnswer> LocalSide::collect(const CompareAsk& ask) {
  if (!tree_ || !place_) return fail(ErrorCode::kProtocol, "no database was hashed");
  if (!scan_) {
    HOTBACKUP_ASSIGN(const auto leaves, indexes(ask.body, tree_->bits()));
    wanted_.assign(std::size_t{1} << tree_->bits(), false);
    for (const std::uint32_t leaf : leaves) wanted_[leaf] = true;
    kept_.clear();
    HOTBACKUP_ASSIGN(scan_, scan(*place_));
  }
  CompareAnswer answer;
  const auto end = steady_clock::now() + kSlice;
  for (std::uint64_t count = 1;; ++count) {
    HOTBACKUP_ASSIGN(const auto item, scan_->next());
    if (!item) break;
    if (wanted_[HashTree::leaf_of(item->key_hash, tree_->bits())]) {
      if (kept_.size() == kKeptMax)
        return fail(ErrorCode::kNoSpace, "too many items have the same hash");
      kept_.push_back({item->key_hash, hash_item(item->key_hash, item->value), item->key});
    }
    if (count % kItemsPerLook == 0 && steady_clock::now() >= end) {
      answer.more = true;
      return answer;
    }
  }
  scan_.reset();
  const auto order = [](const ChainHash& a, const ChainHash& b) {
    return a.high != b.high ? a.high < b.high : a.low < b.low;
  };
  std::sort(kept_.begin(), kept_.end(), [&](const Kept& a, const Kept& b) {
    return a.key_hash != b.key_hash ? order(a.key_hash, b.key_hash)
                                    : order(a.item_hash, b.item_hash);
  });
  answer.items = kept_.size();
  return answer;
}

Result<CompareAnswer> LocalSide::items(const CompareAsk& ask) {
  CompareAnswer answer;
  std::size_t i = ask.from;
  for (; i < kept_.size() && i - ask.from < kItemsPerAnswer; ++i) {
    append(answer.body, kept_[i].key_hash);
    append(answer.body, kept_[i].item_hash);
  }
  answer.more = i < kept_.size();
  return answer;
}

// A key that is not here has no bytes.
Result<CompareAnswer> LocalSide::reveal(const CompareAsk& ask) {
  CompareAnswer answer;
  for (std::size_t at = 0; at + kHashBytes <= ask.body.size(); at += kHashBytes) {
    const ChainHash hash{load_le<std::uint64_t>(ask.body.data() + at),
                         load_le<std::uint64_t>(ask.body.data() + at + 8)};
    const auto found = std::lower_bound(
        kept_.begin(), kept_.end(), hash, [](const Kept& kept, const ChainHash& wanted) {
          return kept.key_hash.high != wanted.high ? kept.key_hash.high < wanted.high
                                                   : kept.key_hash.low < wanted.low;
        });
    const bool here = found != kept_.end() && found->key_hash == hash;
    char length[4];
    store_le(length, static_cast<std::uint32_t>(here ? found->key.size() : 0));
    answer.body.append(length, sizeof length);
    if (here) answer.body += found->key;
  }
  return answer;
}

Result<CompareAnswer> LocalSide::fetch(const CompareAsk& ask) {
  master::FetchSource* source = snapshots_.source();
  if (source == nullptr) return fail(ErrorCode::kProtocol, "there is no cut");
  CompareAnswer answer;
  if (!ask.body.empty()) HOTBACKUP_TRY(source->want(ask.environment, ask.body));
  HOTBACKUP_ASSIGN(answer.more, source->next(answer.body));
  return answer;
}

Result<CompareAnswer> LocalSide::repair(const CompareAsk& ask) {
  if (!ask.body.empty()) HOTBACKUP_TRY(snapshots_.collect(ask.environment, ask.body));
  if (ask.last) HOTBACKUP_TRY(snapshots_.repair());
  return CompareAnswer{};
}

// Doubts about a copy end with the proof that it is equal; what was unlogged on the master before
// that number is on every copy.
Result<CompareAnswer> LocalSide::conclude(const CompareAsk& ask) {
  const bool slave = group_.role() == control::Role::kSlave;
  const bool master = group_.role() == control::Role::kMaster;
  if (ask.kind == Kind::kFound && slave) {
    HOTBACKUP_TRY(control::note_difference(group_, "", ask.text));
  } else if (ask.kind == Kind::kFound && master) {
    // Without a text: nothing was found there, and other copies were not looked at.
    HOTBACKUP_TRY(ask.text.empty() ? control::forget_difference(group_, ask.name)
                                   : control::note_difference(group_, ask.name, ask.text));
  } else if (slave) {
    HOTBACKUP_TRY(slave::forget_doubts(group_));
  } else if (master) {
    HOTBACKUP_TRY(group_.mend_unlogged(ask.number));
  }
  return CompareAnswer{};
}

Result<> serve_side(control::Group& group, const config::Group& settings, int fd) {
  LocalSide side(group, settings);
  for (;;) {
    auto bytes = roles::read_block(fd, roles::kCompareIdle);
    if (!bytes) return {};
    auto ask = wire::decode_compare_ask(*bytes);
    const Result<CompareAnswer> answer = ask ? side.ask(*ask) : fail(ask.error());
    HOTBACKUP_TRY(roles::write_block(fd, wire::encode(answer)));
    if (ask && ask->kind == Kind::kRelease && ask->last) return {};
  }
}

}  // namespace hotbackup::compare
