// SPDX-License-Identifier: Apache-2.0
// Two nodes' copies of a group, compared at one update number while work goes on: docs/operating/
// compare.md. Whoever runs it stands on either node; the two sides answer questions.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tools/compare/side.h"

namespace hotbackup::compare {

enum class What {
  kWrongValue,
  kMissing,  // of the slave's copy
  kExtra,
  kWrongDuplicate,
  kWrongFlags,  // of a database, whose items are not looked at
  kMissingDatabase,
  kExtraDatabase,
  kManyKeys,  // too many to list
};
/// "wrong value", "missing", …: stable names.
std::string_view what_name(What what);

struct Difference {
  EnvironmentNumber environment_number;
  std::string environment;
  bool main = false;
  std::string database;
  std::uint32_t flags = 0;  // of the database, as the master has it
  std::string key;          // empty where it is about the database
  What what = What::kWrongValue;
};

/// Items of one database on both sides, local ones left out.
struct Counted {
  std::string environment;
  bool main = false;
  std::string database;
  std::uint64_t on_master = 0;
  std::uint64_t on_slave = 0;
};

struct Outcome {
  UpdateNumber number;  // of the last snapshots
  std::uint64_t snapshots = 0;
  std::uint64_t databases = 0;
  std::uint64_t items = 0;
  std::uint64_t bytes = 0;
  std::uint64_t local = 0;  // items that are kept local
  std::vector<Difference> differences;
  std::vector<Counted> counted;
};

struct Limits {
  /// A read transaction keeps LMDB from using freed pages again: older snapshots are given up
  /// before the next database.
  std::chrono::milliseconds snapshot{60'000};
  std::chrono::milliseconds no_progress{20'000};  // of the slave on its way to the number
  std::size_t keys_max = 100'000;                 // of one database that are told one by one
};

class Comparison {
 public:
  using Progress = std::function<void(const Outcome&)>;
  Comparison(Side& master, Side& slave, Limits limits = {}, Progress progress = {})
      : master_(master), slave_(slave), limits_(limits), progress_(std::move(progress)) {}

  /// kFenced, kTimeout and kDisconnected where it cannot be done now.
  Result<Outcome> run();
  /// What run() has found becomes what the master has, at one number. Another run() proves it.
  Result<> repair(const std::vector<Difference>& differences);
  struct Reports {
    UpdateNumber number;
    std::string master;
    std::string slave;
  };
  /// What the applications' own report prints on both sides at one number; programs that write on
  /// the master wait meanwhile.
  Result<Reports> report(const std::string& name);
  /// Gives up everything that is held.
  void release();
  /// Tells both sides; clears doubts, or raises the incident. `copy` is the slave's name;
  /// `for_all_copies` when it is the only one.
  Result<> conclude(const Outcome& outcome, const std::string& copy, bool for_all_copies);

 private:
  struct Pair {
    wire::ComparedDatabase here;  // of the master where it has one
    bool on_master = false;
    bool on_slave = false;
    std::uint32_t slave_flags = 0;
    std::uint64_t items = 0;
  };
  struct Both {
    wire::CompareAnswer master;
    wire::CompareAnswer slave;
  };
  struct Hashed {
    ChainHash key;
    ChainHash item;
  };
  using Key = std::tuple<std::uint32_t, bool, std::string>;

  Result<UpdateNumber> begin(bool keep, bool pause = false);
  Result<std::vector<Pair>> list();
  static Result<wire::CompareAnswer> finish(Side& side, wire::CompareAsk ask);
  Result<Both> ask_both(const wire::CompareAsk& ask);
  Result<> compare(const Pair& pair);
  Result<> note_single(const Pair& pair);
  Result<> narrow(const Pair& pair, std::uint32_t bits);
  Result<std::vector<std::uint32_t>> differing_leaves(std::uint32_t bits);
  Result<> look_into(const Pair& pair, const std::vector<std::uint32_t>& leaves);
  static Result<std::vector<Hashed>> collected(Side& side);
  Result<> reveal(const Pair& pair, const std::vector<std::pair<ChainHash, What>>& found);
  void count(const Pair& pair, std::uint64_t on_master, std::uint64_t on_slave);
  void note(const Pair& pair, What what, std::string key = {});
  Result<> fetch_into_slave(EnvironmentNumber environment, std::string body);

  Side& master_;
  Side& slave_;
  const Limits limits_;
  const Progress progress_;
  Outcome outcome_;
};

}  // namespace hotbackup::compare
