// SPDX-License-Identifier: Apache-2.0
#include "common/lmdb/content_digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <memory>

namespace hotbackup::lmdb {
namespace {

class ItemHash {
 public:
  XXH128_hash_t operator()(const Cursor::Item& item) {
    const std::uint64_t key_bytes = item.key.size();
    XXH3_128bits_reset(state_.get());
    XXH3_128bits_update(state_.get(), &key_bytes, sizeof key_bytes);
    XXH3_128bits_update(state_.get(), item.key.data(), item.key.size());
    XXH3_128bits_update(state_.get(), item.value.data(), item.value.size());
    return XXH3_128bits_digest(state_.get());
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_{XXH3_createState()};
};

void add(ChainHash& sum, const XXH128_hash_t& hash) {
  sum.low += hash.low64;
  sum.high += hash.high64 + (sum.low < hash.low64 ? 1 : 0);
}

}  // namespace

Result<ContentDigest> digest(Environment& environment, const update::KeepLocalRules& rules) {
  HOTBACKUP_ASSIGN(auto txn, Transaction::begin(environment, /*read_only=*/true));
  HOTBACKUP_ASSIGN(const auto all, databases(txn));
  ContentDigest result;
  ItemHash hash;
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
      add(one.sum, hash(*item));
      ++one.items;
    }
    if (kept && one.items == 0 && !database.main) continue;
    result.push_back(std::move(one));
  }
  return result;
}

}  // namespace hotbackup::lmdb
