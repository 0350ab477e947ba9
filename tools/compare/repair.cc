// SPDX-License-Identifier: Apache-2.0
// Only what differs is fetched from a cut of the master, and put in by the slave's applier while it
// stands at exactly the cut's number: no update comes between.
#include "tools/compare/comparison.h"

namespace hotbackup::compare {
namespace {

using update::Operation;
using update::OperationKind;
using wire::CompareAsk;
using Kind = CompareAsk::Kind;

/// What is wanted of the master is what is emptied on the slave first. With the flags that the
/// database has: the applier makes one with other flags anew.
Operation operation_for(const Difference& difference) {
  const update::Database database{difference.main, difference.database, difference.flags};
  if (!difference.key.empty() || difference.what < What::kWrongFlags)
    return {OperationKind::kDeleteKey, database, difference.key, {}, 0};
  return {difference.main ? OperationKind::kClear : OperationKind::kDrop, database, {}, {}, 0};
}

}  // namespace

Result<> Comparison::fetch_into_slave(EnvironmentNumber environment, std::string body) {
  CompareAsk put{Kind::kRepair};
  put.environment = environment;
  put.body = body;
  HOTBACKUP_TRY(slave_.ask(put));
  CompareAsk fetch{Kind::kFetch};
  fetch.environment = environment;
  fetch.body = std::move(body);
  for (;;) {
    HOTBACKUP_ASSIGN(auto answer, master_.ask(fetch));
    if (!answer.more) return {};
    put.body = std::move(answer.body);
    HOTBACKUP_TRY(slave_.ask(put));
    fetch.body.clear();
  }
}

Result<> Comparison::repair(const std::vector<Difference>& differences) {
  for (const Difference& difference : differences)
    if (difference.main && difference.what == What::kWrongFlags)
      return fail(ErrorCode::kRefused,
                  "the main database of environment " + difference.environment +
                      " has other flags: only a seed can mend that, on the slave: hotbackup init "
                      "GROUP --role slave --replace");
  HOTBACKUP_TRY(begin(/*keep=*/true));
  for (auto at = differences.begin(); at != differences.end();) {
    const EnvironmentNumber environment = at->environment_number;
    std::string body;
    update::BodyWriter writer(body);
    while (at != differences.end() && at->environment_number == environment &&
           body.size() < update::kBodyBytesTarget)
      writer.add(operation_for(*at++));
    HOTBACKUP_TRY(fetch_into_slave(environment, std::move(body)));
  }
  CompareAsk last{Kind::kRepair};
  last.last = true;
  HOTBACKUP_TRY(slave_.ask(last));
  release();
  return {};
}

}  // namespace hotbackup::compare
