// SPDX-License-Identifier: Apache-2.0
#include "tools/compare/hash_tree.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>

#include "common/wire/compare_message.h"

using namespace hotbackup;
using namespace hotbackup::compare;

namespace {

using Items = std::vector<std::pair<std::string, std::string>>;

HashTree tree_of(const Items& items, std::uint32_t bits = 10) {
  HashTree tree(bits);
  for (const auto& [key, value] : items) {
    const ChainHash hash = hash_key(key);
    tree.add_item(hash, hash_item(hash, value));
  }
  return tree;
}

Items many(int count) {
  Items items;
  for (int i = 0; i < count; ++i)
    items.emplace_back("key" + std::to_string(i), "value" + std::to_string(i % 7));
  return items;
}

}  // namespace

TEST_CASE("the order of items plays no part, and every level sums up what is below it") {
  Items items = many(5000);
  const HashTree tree = tree_of(items);
  std::shuffle(items.begin(), items.end(), std::mt19937(1));
  CHECK(tree_of(items).root() == tree.root());
  for (const std::uint32_t level : {3U, 8U, 10U}) {
    ChainHash sum;
    for (std::uint32_t i = 0; i < 1U << level; ++i) add(sum, tree.node(level, i));
    CHECK(sum == tree.root());
  }
}

TEST_CASE("one item that differs shows in its leaf and in no other") {
  Items items = many(5000);
  const HashTree before = tree_of(items);
  items[77].second += "x";
  const HashTree after = tree_of(items);
  std::vector<std::uint32_t> differ;
  for (std::uint32_t leaf = 0; leaf < 1024; ++leaf)
    if (before.node(10, leaf) != after.node(10, leaf)) differ.push_back(leaf);
  CHECK(differ == std::vector<std::uint32_t>{HashTree::leaf_of(hash_key(items[77].first), 10)});
}

TEST_CASE("values that change places are seen, and an item twice is not one") {
  CHECK(tree_of({{"a", "1"}, {"b", "2"}}).root() != tree_of({{"a", "2"}, {"b", "1"}}).root());
  CHECK(tree_of({{"a", "1"}, {"a", "1"}}).root() != tree_of({{"a", "1"}}).root());
  CHECK(tree_of({{"ab", "c"}}).root() != tree_of({{"a", "bc"}}).root());
}

TEST_CASE("questions and answers of a comparison come back from their bytes as they were") {
  wire::CompareAsk ask{wire::CompareAsk::Kind::kCollect, UpdateNumber(7), true, 3,
                       EnvironmentNumber(2)};
  ask.name = std::string("a\0b", 3);
  ask.bits = 9;
  ask.level = 8;
  ask.body = "body";
  ask.last = true;
  ask.text = "text";
  const auto read = wire::decode_compare_ask(wire::encode(ask));
  REQUIRE(read);
  CHECK(read->kind == ask.kind);
  CHECK(read->number == ask.number);
  CHECK(read->environment == ask.environment);
  CHECK(read->name == ask.name);
  CHECK(read->level == 8);
  CHECK(read->body == "body");
  CHECK(read->last);
  const auto error = wire::decode_compare_answer(
      wire::encode(Result<wire::CompareAnswer>(fail(ErrorCode::kBusy, "busy"))));
  REQUIRE(!error);
  CHECK(error.error().code() == ErrorCode::kBusy);
  CHECK(!wire::decode_compare_ask("\xff\xff\xff"));
}
