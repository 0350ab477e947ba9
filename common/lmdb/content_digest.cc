// SPDX-License-Identifier: Apache-2.0
#include "common/lmdb/content_digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace hotbackup::lmdb {
namespace {

/// Items that fit are hashed in one call, which gives the same and is three times faster.
constexpr std::size_t kJoinedBytes = 1024;

}  // namespace

struct ItemDigest::State {
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> hash{XXH3_createState()};
  char joined[kJoinedBytes];
};

ItemDigest::ItemDigest() : state_(std::make_unique<State>()) {}
ItemDigest::~ItemDigest() = default;

void ItemDigest::add(DatabaseDigest& database, std::string_view key, std::string_view value) {
  const std::uint64_t key_bytes = key.size();
  const std::size_t bytes = sizeof key_bytes + key.size() + value.size();
  XXH128_hash_t item;
  if (bytes <= kJoinedBytes) {
    char* to = state_->joined;
    std::memcpy(to, &key_bytes, sizeof key_bytes);
    std::copy(key.begin(), key.end(), to + sizeof key_bytes);
    std::copy(value.begin(), value.end(), to + sizeof key_bytes + key.size());
    item = XXH3_128bits(to, bytes);
  } else {
    XXH3_state_t* hash = state_->hash.get();
    XXH3_128bits_reset(hash);
    XXH3_128bits_update(hash, &key_bytes, sizeof key_bytes);
    XXH3_128bits_update(hash, key.data(), key.size());
    XXH3_128bits_update(hash, value.data(), value.size());
    item = XXH3_128bits_digest(hash);
  }
  ChainHash& sum = database.sum;
  sum.low += item.low64;
  sum.high += item.high64 + (sum.low < item.low64 ? 1 : 0);
  ++database.items;
}

Result<ContentDigest> digest(Environment& environment, const update::KeepLocalRules& rules) {
  HOTBACKUP_ASSIGN(auto txn, Transaction::begin(environment, /*read_only=*/true));
  HOTBACKUP_ASSIGN(const auto all, databases(txn));
  ContentDigest result;
  ItemDigest digest;
  for (const DatabaseInfo& database : all) {
    const update::Database named_as{database.main, database.name, database.flags};
    if (rules.keeps_database(named_as)) continue;
    bool kept = false;
    DatabaseDigest one{database.main, database.name, database.flags, 0, {}};
    const bool has_named = database.main && all.size() > 1;
    HOTBACKUP_ASSIGN(auto cursor, Cursor::open(txn, database.dbi));
    for (;;) {
      HOTBACKUP_ASSIGN(const auto item, cursor.next());
      if (!item) break;
      if (has_named) {
        HOTBACKUP_ASSIGN(const bool named, is_named_database(txn, database.flags, *item));
        if (named) continue;
      }
      if (rules.keeps(named_as, item->key)) {
        kept = true;
        continue;
      }
      digest.add(one, item->key, item->value);
    }
    if (kept && one.items == 0 && !database.main) continue;
    result.push_back(std::move(one));
  }
  return result;
}

}  // namespace hotbackup::lmdb
