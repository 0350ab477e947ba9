// SPDX-License-Identifier: Apache-2.0
// Random transactions over LMDB's whole writing surface, done at once on a captured environment, on
// one without capture, and on a plain model; a copy is made from the journal. Keep-local items of
// the copy are its own.
#pragma once

#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/capture/model.h"
#include "tests/unit/capture/transaction.h"

namespace hotbackup::test {

inline constexpr unsigned kNamedFlags[] = {
    0,
    MDB_REVERSEKEY,
    MDB_INTEGERKEY,
    MDB_DUPSORT,
    MDB_DUPSORT | MDB_REVERSEDUP,
    MDB_DUPSORT | MDB_REVERSEKEY,
    MDB_DUPSORT | MDB_DUPFIXED,
    MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP,
    MDB_DUPSORT | MDB_INTEGERKEY | MDB_DUPFIXED | MDB_INTEGERDUP,
    MDB_DUPSORT | MDB_DUPFIXED | MDB_REVERSEDUP,
};

struct Side {
  std::string path;
  unsigned flags = 0;
  MDB_env* env = nullptr;
  std::vector<MDB_txn*> txns;  // outermost first
  std::map<std::string, MDB_dbi> handles;
  MDB_txn* txn() const { return txns.back(); }
};

/// One run; its cases fail inside.
class Run {
 public:
  /// `rules`: keep-local, on both nodes.
  Run(std::uint64_t seed, unsigned main_flags, unsigned env_flags,
      const std::vector<std::string>& rules = {});
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run();
  void transactions(int count);

 private:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  bool chance(int percent) { return below(100) < static_cast<std::uint64_t>(percent); }

  void open_sides();
  void close_sides();
  void begin();
  void end(bool commit);
  void step();
  void compare();
  Content due_in_copy() const;
  void write_own();

  std::string pick_database();
  std::string random_key(const ModelDatabase& database);
  std::string random_value(const ModelDatabase& database);
  unsigned random_put_flags(const ModelDatabase& database);
  bool open_handles(const std::string& name);

  void create_or_open();
  void drop(const std::string& name);
  void put(const std::string& name);
  void put_by_cursor(const std::string& name);
  void put_multiple(const std::string& name);
  void put_current(const std::string& name);
  void reserve(const std::string& name);
  void remove(const std::string& name);
  void remove_by_cursor(const std::string& name);
  void get(const std::string& name);

  /// Does the same on both sides and expects this code from both.
  template <class Call>
  void both(int expected, Call&& call) {
    const int captured = call(sides_[0]);
    const int plain = call(sides_[1]);
    if (captured == expected && plain == expected) return;
    FAIL("seed " << seed_ << " step " << steps_ << " " << doing_ << ": captured " << captured
                 << ", plain " << plain << ", model " << expected);
  }
  MDB_cursor* place(Side& side, const std::string& name, const std::string& key,
                    const std::string* value);

  const std::uint64_t seed_;
  const unsigned main_flags_;
  std::mt19937_64 random_;
  GroupFixture fixture_;
  Side sides_[2];
  std::optional<Copy> copy_;
  update::KeepLocalRules rules_;
  Content own_;                // keep-local items of the copy
  std::vector<Model> models_;  // committed first, then one for each open transaction
  std::uint64_t steps_ = 0;
  std::string doing_;
};

}  // namespace hotbackup::test
