// SPDX-License-Identifier: Apache-2.0
// Every return code must be the same with capture, without it, and on a plain model, and so must
// the content, and that of a copy made from the journal.
//
// HOTBACKUP_SEED and HOTBACKUP_TRANSACTIONS choose another run.
#include <doctest/doctest.h>

#include <cstdlib>

#include "tests/unit/capture/random_run.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

std::uint64_t first_seed() {
  const char* text = std::getenv("HOTBACKUP_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 1;
}

int transaction_count(int usual) {
  const char* text = std::getenv("HOTBACKUP_TRANSACTIONS");
  return text != nullptr ? std::atoi(text) : usual;
}

}  // namespace

TEST_CASE("random transactions: model, plain LMDB, captured LMDB and copy stay equal") {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 3; ++seed)
    Run(seed, 0, MDB_NOSYNC).transactions(transaction_count(2000));
}

TEST_CASE("random transactions in main databases of every kind stay equal") {
  for (const unsigned flags : kNamedFlags)
    Run(first_seed() + flags, flags, MDB_NOSYNC | MDB_NOSUBDIR)
        .transactions(transaction_count(500));
}

TEST_CASE("random transactions under WRITEMAP, NOTLS and NOLOCK stay equal") {
  Run(first_seed(), 0, MDB_NOSYNC | MDB_WRITEMAP | MDB_MAPASYNC | MDB_NOTLS)
      .transactions(transaction_count(1000));
  Run(first_seed(), 0, MDB_NOLOCK | MDB_NOSUBDIR).transactions(transaction_count(300));
}

TEST_CASE(
    "random transactions with keep-local data: both nodes keep their own, the rest is equal") {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 3; ++seed)
    Run(seed, 0, MDB_NOSYNC,
        {"db0:k1*", "db1:k7919", "db2:0x05*", "db3:k2*", "db5:k7*", "db6:k*", "db7", "db8:0x0100*",
         ":k3*", ":k583"})
        .transactions(transaction_count(2000));
}

TEST_CASE("random transactions in main databases of every kind with kept keys stay equal") {
  for (const unsigned flags : kNamedFlags)
    Run(first_seed() + flags, flags, MDB_NOSYNC | MDB_NOSUBDIR, {":k1*", ":k583", ":0x05*"})
        .transactions(transaction_count(300));
}
