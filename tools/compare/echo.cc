// SPDX-License-Identifier: Apache-2.0
// A test update read back: through a reader of the copy, once the copy is said to show it.
#include <sys/stat.h>

#include <thread>

#include "common/base/bytes.h"
#include "common/control/apply_decisions.h"
#include "common/control/test_environment.h"
#include "common/os/shared_mutex.h"
#include "tools/compare/side.h"

namespace hotbackup::compare {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kSlice{500};

Result<std::string> read_test_item(const control::EnvironmentEntry& entry) {
  lmdb::OpenOptions options;
  options.path = entry.path;
  options.subdirectory = entry.subdirectory != 0;
  options.read_only = true;
  HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment, /*read_only=*/true));
  MDB_dbi main = 0;
  if (const int rc = mdb_dbi_open(txn.get(), nullptr, 0, &main); rc != 0)
    return lmdb::fail_lmdb("opening the test environment", rc);
  MDB_val key = lmdb::to_val(control::kTestKey);
  MDB_val value{};
  const int rc = mdb_get(txn.get(), main, &key, &value);
  if (rc == MDB_NOTFOUND) return std::string();
  if (rc != 0) return lmdb::fail_lmdb("reading the test update", rc);
  return std::string(lmdb::to_view(value));
}

}  // namespace

// The hash is of what is there, right or wrong: who has written it judges.
Result<wire::CompareAnswer> LocalSide::echo(const wire::CompareAsk& ask) {
  const control::Layout& layout = group_.layout();
  wire::CompareAnswer answer;
  for (const auto end = steady_clock::now() + kSlice;;) {
    const std::uint32_t ticket = layout.acknowledged_wake.load();
    answer.number = UpdateNumber(layout.applied.load());
    if (answer.number >= ask.number) break;
    const auto left = std::chrono::duration_cast<milliseconds>(end - steady_clock::now());
    if (left.count() <= 0) {
      const std::string held = control::held_back(group_);
      if (!held.empty() && group_.synced() >= ask.number)
        return fail(ErrorCode::kFenced, held + ", and has the update in its journal");
      answer.more = true;
      return answer;
    }
    os::futex_wait(layout.acknowledged_wake, ticket, left);
  }
  if (ask.number.value == 0) return answer;
  for (std::uint32_t n = 1; n <= group_.environment_count(); ++n) {
    const auto* entry = group_.environment(EnvironmentNumber(n));
    if (entry == nullptr || !control::is_test_environment(entry->name)) continue;
    HOTBACKUP_ASSIGN(const std::string value, read_test_item(*entry));
    answer.items = 1;
    answer.body = hash128(value).to_hex();
  }
  return answer;
}

}  // namespace hotbackup::compare
