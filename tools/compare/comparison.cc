// SPDX-License-Identifier: Apache-2.0
#include "tools/compare/comparison.h"

#include <thread>
#include <tuple>

#include "common/base/bytes.h"

namespace hotbackup::compare {
namespace {

using wire::CompareAnswer;
using wire::CompareAsk;
using Kind = CompareAsk::Kind;
using std::chrono::steady_clock;

}  // namespace

std::string_view what_name(What what) {
  switch (what) {
    case What::kWrongValue:
      return "wrong value";
    case What::kMissing:
      return "missing";
    case What::kExtra:
      return "extra";
    case What::kWrongDuplicate:
      return "wrong duplicate";
    case What::kWrongFlags:
      return "wrong flags";
    case What::kMissingDatabase:
      return "missing database";
    case What::kExtraDatabase:
      return "extra database";
    case What::kManyKeys:
      break;
  }
  return "many keys";
}

Result<CompareAnswer> Comparison::finish(Side& side, CompareAsk ask) {
  for (;;) {
    auto answer = side.ask(ask);
    if (!answer || !answer->more) return answer;
  }
}

/// Both at once: each takes its time.
Result<Comparison::Both> Comparison::ask_both(const CompareAsk& ask) {
  Result<CompareAnswer> slave;
  std::thread other([&] { slave = finish(slave_, ask); });
  auto master = finish(master_, ask);
  other.join();
  if (!master) return fail(std::move(master).error());
  if (!slave) return fail(std::move(slave).error());
  return Both{std::move(*master), std::move(*slave)};
}

// The slave stands still before the master's number is chosen, so it cannot have passed it.
Result<UpdateNumber> Comparison::begin(bool keep, bool pause) {
  release();
  HOTBACKUP_TRY(slave_.ask({Kind::kHold}));
  HOTBACKUP_ASSIGN(const auto cut, master_.ask({Kind::kCut, {}, pause}));
  CompareAsk ask{Kind::kSnapshot, cut.number, keep};
  UpdateNumber applied;
  auto moved = steady_clock::now();
  for (;;) {
    HOTBACKUP_ASSIGN(const auto there, slave_.ask(ask));
    if (!there.more) break;
    if (there.number != applied) moved = steady_clock::now();
    applied = there.number;
    if (steady_clock::now() - moved > limits_.no_progress)
      return fail(ErrorCode::kTimeout,
                  "the slave stays at update " + std::to_string(applied.value) +
                      " and does not reach update " + std::to_string(cut.number.value));
  }
  outcome_.number = cut.number;
  ++outcome_.snapshots;
  return cut.number;
}

void Comparison::release() {
  (void)slave_.ask({Kind::kRelease});
  (void)master_.ask({Kind::kRelease});
}

Result<std::vector<Comparison::Pair>> Comparison::list() {
  std::map<Key, Pair> all;
  for (const bool on_master : {true, false}) {
    Side& side = on_master ? master_ : slave_;
    for (CompareAsk ask{Kind::kDatabases};;) {
      HOTBACKUP_ASSIGN(const auto answer, side.ask(ask));
      for (const wire::ComparedDatabase& one : answer.databases) {
        Pair& pair = all[{one.environment.value, !one.main, one.name}];
        if (on_master || !pair.on_master) pair.here = one;
        (on_master ? pair.on_master : pair.on_slave) = true;
        if (!on_master) pair.slave_flags = one.flags;
        pair.items = std::max(pair.items, one.items);
      }
      ask.from += answer.databases.size();
      if (!answer.more) break;
    }
  }
  std::vector<Pair> pairs;
  for (auto& [key, pair] : all) pairs.push_back(std::move(pair));
  return pairs;
}

Result<Outcome> Comparison::run() {
  outcome_ = {};
  std::set<Key> done;
  for (bool all = false; !all;) {
    HOTBACKUP_TRY(begin(/*keep=*/false));
    const auto begun = steady_clock::now();
    HOTBACKUP_ASSIGN(const auto pairs, list());
    all = true;
    for (const Pair& pair : pairs) {
      const Key key{pair.here.environment.value, !pair.here.main, pair.here.name};
      if (done.contains(key)) continue;
      if (steady_clock::now() - begun > limits_.snapshot) {
        all = false;
        break;
      }
      HOTBACKUP_TRY(compare(pair));
      done.insert(key);
      ++outcome_.databases;
      if (progress_) progress_(outcome_);
    }
  }
  release();
  return outcome_;
}

void Comparison::note(const Pair& pair, What what, std::string key) {
  outcome_.differences.push_back({pair.here.environment, pair.here.environment_name, pair.here.main,
                                  pair.here.name, pair.here.flags, std::move(key), what});
}

void Comparison::count(const Pair& pair, std::uint64_t on_master, std::uint64_t on_slave) {
  outcome_.counted.push_back(
      {pair.here.environment_name, pair.here.main, pair.here.name, on_master, on_slave});
}

Result<> Comparison::compare(const Pair& pair) {
  if (!pair.on_master || !pair.on_slave) return note_single(pair);
  if (pair.here.flags != pair.slave_flags) {
    note(pair, What::kWrongFlags);
    return {};
  }
  CompareAsk ask{Kind::kHash};
  ask.environment = pair.here.environment;
  ask.main = pair.here.main;
  ask.name = pair.here.name;
  ask.bits = HashTree::bits_for(pair.items);
  HOTBACKUP_ASSIGN(const Both both, ask_both(ask));
  count(pair, both.master.items, both.slave.items);
  outcome_.items += both.master.items;
  outcome_.bytes += both.master.bytes;
  outcome_.local += both.master.local + both.slave.local;
  if (both.master.body == both.slave.body && both.master.items == both.slave.items) return {};
  return narrow(pair, ask.bits);
}

/// A database that only one side has; where all its items are local there, that is as it should be.
Result<> Comparison::note_single(const Pair& pair) {
  CompareAsk ask{Kind::kHash};
  ask.environment = pair.here.environment;
  ask.main = pair.here.main;
  ask.name = pair.here.name;
  HOTBACKUP_ASSIGN(const auto answer, finish(pair.on_master ? master_ : slave_, ask));
  outcome_.local += answer.local;
  count(pair, pair.on_master ? answer.items : 0, pair.on_slave ? answer.items : 0);
  if (answer.items == 0 && (answer.local != 0 || pair.here.main)) return {};
  note(pair, pair.on_master ? What::kMissingDatabase : What::kExtraDatabase);
  return {};
}

Result<> Comparison::conclude(const Outcome& outcome, const std::string& copy,
                              bool for_all_copies) {
  CompareAsk found{Kind::kFound, outcome.number};
  found.name = copy;
  if (outcome.differences.empty()) {
    CompareAsk clean{Kind::kClean, outcome.number};
    HOTBACKUP_TRY(slave_.ask(clean));
    if (for_all_copies) HOTBACKUP_TRY(master_.ask(clean));
    HOTBACKUP_TRY(master_.ask(found));
    return {};
  }
  const Difference& first = outcome.differences.front();
  found.text = "a comparison at update " + std::to_string(outcome.number.value) + " found " +
               std::to_string(outcome.differences.size()) +
               (outcome.differences.size() == 1 ? " difference" : " differences") +
               ", the first in environment " + first.environment + ", " +
               (first.main ? "the main database" : "database " + printable(first.database)) +
               (first.key.empty() ? "" : ", key " + printable(first.key)) + ": " +
               std::string(what_name(first.what));
  HOTBACKUP_TRY(slave_.ask(found));
  HOTBACKUP_TRY(master_.ask(found));
  return {};
}

}  // namespace hotbackup::compare
