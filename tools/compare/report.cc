// SPDX-License-Identifier: Apache-2.0
// An application's own report, run on both sides while neither changes. Each node's configuration
// says what its command is; the name is all that travels.
#include <sys/wait.h>

#include <cstdio>

#include "tools/compare/comparison.h"

namespace hotbackup::compare {
namespace {

using wire::CompareAnswer;
using wire::CompareAsk;
using Kind = CompareAsk::Kind;

constexpr std::size_t kOutputMax = 3 << 20;  // fits a message
constexpr char kLimit[] = "60";              // seconds

std::string in_shell(const std::string& word) {
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace

Result<CompareAnswer> LocalSide::report(const CompareAsk& ask) {
  const std::string node(group_.layout().node_name);
  const auto command = settings_.reports.find(ask.name);
  if (command == settings_.reports.end())
    return fail(ErrorCode::kFenced, "[group.reports] of " + node + " has no '" + ask.name + "'");
  const bool master = group_.role() == control::Role::kMaster;
  const std::string line = "export HOTBACKUP_GROUP=" + in_shell(settings_.name) +
                           " HOTBACKUP_ROLE=" + (master ? "master" : "slave") +
                           " HOTBACKUP_NUMBER=" + std::to_string(snapshots_.number().value) +
                           "; exec timeout " + kLimit + " /bin/sh -c " + in_shell(command->second) +
                           " </dev/null";
  std::FILE* pipe = ::popen(line.c_str(), "re");
  if (pipe == nullptr) return fail_errno("starting the report");
  CompareAnswer answer;
  char piece[4096];
  while (const std::size_t got = std::fread(piece, 1, sizeof piece, pipe)) {
    answer.body.append(piece, got);
    if (answer.body.size() > kOutputMax) break;
  }
  const int ended = ::pclose(pipe);
  if (answer.body.size() > kOutputMax)
    return fail(ErrorCode::kIo, "the report on " + node + " prints more than 3 MB");
  if (ended != 0)
    return fail(ErrorCode::kIo, "the report on " + node + " ended with " +
                                    std::to_string(WIFEXITED(ended) ? WEXITSTATUS(ended) : -1));
  if (!snapshots_.still_held())
    return fail(ErrorCode::kTimeout,
                "a program had a transaction open and wrote on " + node + " meanwhile: try again");
  answer.number = snapshots_.number();
  return answer;
}

Result<Comparison::Reports> Comparison::report(const std::string& name) {
  Reports reports;
  HOTBACKUP_ASSIGN(reports.number, begin(/*keep=*/true, /*pause=*/true));
  CompareAsk ask{Kind::kReport};
  ask.name = name;
  auto both = ask_both(ask);
  release();
  if (!both) return fail(std::move(both).error());
  reports.master = std::move(both->master.body);
  reports.slave = std::move(both->slave.body);
  return reports;
}

}  // namespace hotbackup::compare
