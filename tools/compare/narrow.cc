// SPDX-License-Identifier: Apache-2.0
// From a root that differs to the keys: down both trees, then the hashes of the items in the leaves
// that differ, then the keys of those.
#include <algorithm>

#include "common/base/bytes.h"
#include "tools/compare/comparison.h"

namespace hotbackup::compare {
namespace {

using wire::CompareAnswer;
using wire::CompareAsk;
using Kind = CompareAsk::Kind;

constexpr std::size_t kHashBytes = 16;
constexpr std::size_t kParentsPerAsk = 512;        // times 256 children of 16 bytes
constexpr std::uint64_t kItemsPerRound = 400'000;  // that both sides keep at a time, about
constexpr std::size_t kKeysPerAsk = 4096;

ChainHash hash_at(const std::string& bytes, std::size_t at) {
  return {load_le<std::uint64_t>(bytes.data() + at), load_le<std::uint64_t>(bytes.data() + at + 8)};
}

std::string pack(const std::vector<std::uint32_t>& numbers, std::size_t from, std::size_t count) {
  std::string body(4 * count, '\0');
  for (std::size_t i = 0; i < count; ++i) store_le(body.data() + 4 * i, numbers[from + i]);
  return body;
}

}  // namespace

Result<std::vector<std::uint32_t>> Comparison::differing_leaves(std::uint32_t bits) {
  std::vector<std::uint32_t> nodes{0};
  for (std::uint32_t level = 0; level < bits;) {
    const std::uint32_t below = HashTree::below(level, bits);
    const std::size_t fan = std::size_t{1} << (below - level);
    std::vector<std::uint32_t> children;
    for (std::size_t at = 0; at < nodes.size(); at += kParentsPerAsk) {
      const std::size_t count = std::min(kParentsPerAsk, nodes.size() - at);
      CompareAsk ask{Kind::kNodes};
      ask.level = level;
      ask.body = pack(nodes, at, count);
      HOTBACKUP_ASSIGN(const Both both, ask_both(ask));
      const std::size_t bytes = count * fan * kHashBytes;
      if (both.master.body.size() != bytes || both.slave.body.size() != bytes)
        return fail(ErrorCode::kProtocol, "the nodes of a tree are not all there");
      for (std::size_t i = 0; i < count * fan; ++i)
        if (hash_at(both.master.body, i * kHashBytes) != hash_at(both.slave.body, i * kHashBytes))
          children.push_back(static_cast<std::uint32_t>(nodes[at + i / fan] * fan + i % fan));
    }
    nodes = std::move(children);
    level = below;
  }
  return nodes;
}

Result<> Comparison::narrow(const Pair& pair, std::uint32_t bits) {
  HOTBACKUP_ASSIGN(const auto leaves, differing_leaves(bits));
  const std::uint64_t per_leaf = std::max<std::uint64_t>(pair.items >> bits, 1) * 2;
  const std::size_t per_round = std::max<std::uint64_t>(kItemsPerRound / per_leaf, 1);
  const std::size_t before = outcome_.differences.size();
  for (std::size_t at = 0; at < leaves.size(); at += per_round) {
    const std::size_t count = std::min(per_round, leaves.size() - at);
    HOTBACKUP_TRY(look_into(pair, {leaves.begin() + static_cast<std::ptrdiff_t>(at),
                                   leaves.begin() + static_cast<std::ptrdiff_t>(at + count)}));
    if (outcome_.differences.size() - before > limits_.keys_max) {
      outcome_.differences.resize(before);
      note(pair, What::kManyKeys);
      return {};
    }
  }
  if (outcome_.differences.size() == before)
    return fail(ErrorCode::kCorrupt, "the hashes of database " + printable(pair.here.name) +
                                         " differ and its items do not: a program may write "
                                         "without LMDB's locks");
  return {};
}

Result<std::vector<Comparison::Hashed>> Comparison::collected(Side& side) {
  std::vector<Hashed> all;
  for (CompareAsk ask{Kind::kItems};;) {
    HOTBACKUP_ASSIGN(const auto answer, side.ask(ask));
    for (std::size_t at = 0; at + 2 * kHashBytes <= answer.body.size(); at += 2 * kHashBytes)
      all.push_back({hash_at(answer.body, at), hash_at(answer.body, at + kHashBytes)});
    ask.from = all.size();
    if (!answer.more) return all;
  }
}

Result<> Comparison::look_into(const Pair& pair, const std::vector<std::uint32_t>& leaves) {
  CompareAsk ask{Kind::kCollect};
  ask.body = pack(leaves, 0, leaves.size());
  HOTBACKUP_TRY(ask_both(ask));
  HOTBACKUP_ASSIGN(const auto master, collected(master_));
  HOTBACKUP_ASSIGN(const auto slave, collected(slave_));
  const auto before = [](const ChainHash& a, const ChainHash& b) {
    return a.high != b.high ? a.high < b.high : a.low < b.low;
  };
  const bool duplicates = (pair.here.flags & MDB_DUPSORT) != 0;
  std::vector<std::pair<ChainHash, What>> found;
  auto a = master.begin();
  auto b = slave.begin();
  // Key by key: the items of one key stand together, in the order of their hashes.
  while (a != master.end() || b != slave.end()) {
    const bool from_a = b == slave.end() || (a != master.end() && !before(b->key, a->key));
    const ChainHash key = from_a ? a->key : b->key;
    const auto ends = [&key](auto at, auto end) {
      while (at != end && at->key == key) ++at;
      return at;
    };
    const auto a_end = ends(a, master.end());
    const auto b_end = ends(b, slave.end());
    const auto same = [](const Hashed& x, const Hashed& y) { return x.item == y.item; };
    if (!std::equal(a, a_end, b, b_end, same))
      found.emplace_back(key, a == a_end   ? What::kExtra
                              : b == b_end ? What::kMissing
                              : duplicates ? What::kWrongDuplicate
                                           : What::kWrongValue);
    a = a_end;
    b = b_end;
  }
  return reveal(pair, found);
}

Result<> Comparison::reveal(const Pair& pair,
                            const std::vector<std::pair<ChainHash, What>>& found) {
  for (std::size_t from = 0; from < found.size(); from += kKeysPerAsk) {
    const std::size_t end = std::min(from + kKeysPerAsk, found.size());
    CompareAsk ask{Kind::kReveal};
    for (std::size_t i = from; i < end; ++i) {
      char bytes[kHashBytes];
      store_le(bytes, found[i].first.low);
      store_le(bytes + 8, found[i].first.high);
      ask.body.append(bytes, sizeof bytes);
    }
    HOTBACKUP_ASSIGN(const Both both, ask_both(ask));
    std::size_t at_master = 0;
    std::size_t at_slave = 0;
    const auto take = [](const std::string& body, std::size_t& at) -> std::string {
      if (at + 4 > body.size()) return {};
      const std::size_t length = load_le<std::uint32_t>(body.data() + at);
      at += 4 + length;
      return at > body.size() ? std::string() : body.substr(at - length, length);
    };
    for (std::size_t i = from; i < end; ++i) {
      std::string master = take(both.master.body, at_master);
      std::string slave = take(both.slave.body, at_slave);
      note(pair, found[i].second, found[i].second == What::kExtra ? slave : master);
    }
  }
  return {};
}

}  // namespace hotbackup::compare
