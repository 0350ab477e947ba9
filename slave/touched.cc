// SPDX-License-Identifier: Apache-2.0
#include "slave/touched.h"

#include <map>
#include <unordered_set>

#include "common/base/bytes.h"
#include "common/orphan/orphan_set.h"
#include "common/update/codec.h"

namespace hotbackup::slave {
namespace {

using update::OperationKind;

constexpr std::size_t kRememberedMax = 1 << 18;

struct TouchedDatabase {
  unsigned flags = 0;
  bool whole = false;
};
struct TouchedEnvironment {
  bool everything = false;
  bool main_flags = false;  // flags of the main database were added
  std::map<std::string, TouchedDatabase, std::less<>> databases;  // "" is main
};

using Visit = std::function<Result<>(EnvironmentNumber, const update::Operation&)>;

Result<> for_each_operation(control::Group& group, const std::vector<std::string>& names,
                            const Visit& visit) {
  for (const std::string& name : names) {
    HOTBACKUP_ASSIGN(const auto set, orphan::read(group.directory(), name));
    HOTBACKUP_TRY(orphan::for_each_frame(
        group.directory(), group.id(), set, [&](const journal::FrameView& frame) -> Result<> {
          if (frame.header.kind != journal::FrameKind::kUpdate) return {};
          return update::read_body(frame.body, [&](const update::Operation& operation) {
            return visit(frame.header.environment, operation);
          });
        }));
  }
  return {};
}

void look_at(TouchedEnvironment& environment, const update::Operation& operation) {
  const update::Database& database = operation.database;
  const bool main = database.main;
  switch (operation.kind) {
    case OperationKind::kCreate:
      if (main) environment.main_flags = true;
      break;
    case OperationKind::kClear:
    case OperationKind::kDrop:
      if (main) environment.everything = true;
      break;
    case OperationKind::kPut:
    case OperationKind::kPutLarge:
    case OperationKind::kValuePart:
    case OperationKind::kDeleteKey:
    case OperationKind::kDeletePair:
      break;
  }
  const auto name = main ? std::string_view{} : database.name;
  auto known = environment.databases.find(name);
  const bool first = known == environment.databases.end();
  if (first) known = environment.databases.emplace(std::string(name), TouchedDatabase{}).first;
  TouchedDatabase& touched = known->second;
  if (first) touched.flags = database.flags;
  if (main) return;
  touched.whole |= touched.flags != database.flags || operation.kind == OperationKind::kCreate ||
                   operation.kind == OperationKind::kClear ||
                   operation.kind == OperationKind::kDrop;
}

/// Bodies of the target size, one after the other.
class Requests {
 public:
  explicit Requests(RecordFile& wanted) : wanted_(wanted) {}

  Result<> add(EnvironmentNumber environment, const update::Operation& operation) {
    if (environment != environment_ || body_.size() >= update::kBodyBytesTarget)
      HOTBACKUP_TRY(flush());
    environment_ = environment;
    writer_.add(operation);
    return {};
  }
  Result<> flush() {
    if (!body_.empty()) HOTBACKUP_TRY(wanted_.append(environment_, body_));
    body_.clear();
    writer_.start_body();
    return {};
  }

 private:
  RecordFile& wanted_;
  EnvironmentNumber environment_;
  std::string body_;
  update::BodyWriter writer_{body_};
};

/// Keys that were asked for a short while ago.
class Remembered {
 public:
  bool is_new(EnvironmentNumber environment, const update::Operation& operation) {
    if (known_.size() >= kRememberedMax) known_.clear();
    std::string text = std::to_string(environment.value) + (operation.database.main ? "m" : "n");
    text += std::to_string(operation.database.name.size()) + ":";
    text += operation.database.name;
    text += operation.key;
    return known_.insert(hash128(text)).second;
  }

 private:
  struct Hash {
    std::size_t operator()(const ChainHash& hash) const { return hash.low; }
  };
  std::unordered_set<ChainHash, Hash> known_;
};

Result<> ask_for_whole(EnvironmentNumber number, const TouchedEnvironment& environment,
                       Requests& requests) {
  if (environment.everything)
    return requests.add(number, {OperationKind::kClear, {true, {}, 0}, {}, {}, 0});
  for (const auto& [name, database] : environment.databases)
    if (database.whole)
      HOTBACKUP_TRY(
          requests.add(number, {OperationKind::kDrop, {false, name, database.flags}, {}, {}, 0}));
  return {};
}

}  // namespace

Result<> collect_touched(control::Group& group, const std::vector<std::string>& sets,
                         RecordFile& wanted) {
  std::map<EnvironmentNumber, TouchedEnvironment> touched;
  HOTBACKUP_TRY(for_each_operation(group, sets, [&](EnvironmentNumber number, const auto& op) {
    look_at(touched[number], op);
    return Result<>();
  }));
  Requests requests(wanted);
  for (const auto& [number, environment] : touched) {
    if (environment.main_flags)
      return fail(ErrorCode::kRefused, "the main database of environment " +
                                           std::to_string(number.value) +
                                           " was given other flags, which cannot be taken back");
    HOTBACKUP_TRY(ask_for_whole(number, environment, requests));
  }
  Remembered remembered;
  HOTBACKUP_TRY(for_each_operation(group, sets, [&](EnvironmentNumber number, const auto& op) {
    const bool names_key = op.kind == OperationKind::kPut || op.kind == OperationKind::kPutLarge ||
                           op.kind == OperationKind::kDeleteKey ||
                           op.kind == OperationKind::kDeletePair;
    const TouchedEnvironment& environment = touched.at(number);
    if (!names_key || environment.everything) return Result<>();
    const auto name = op.database.main ? std::string_view{} : op.database.name;
    if (environment.databases.find(name)->second.whole || !remembered.is_new(number, op))
      return Result<>();
    return requests.add(number, {OperationKind::kDeleteKey, op.database, op.key, {}, 0});
  }));
  return requests.flush();
}

}  // namespace hotbackup::slave
