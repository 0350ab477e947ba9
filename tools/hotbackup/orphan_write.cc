// SPDX-License-Identifier: Apache-2.0
// The process that makes an orphan an update of this master: started under capture by `orphans
// apply` and by the slave server, never by a person. It writes as any program would.
#include <dlfcn.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "common/base/bytes.h"
#include "common/journal/reader.h"
#include "common/lmdb/apply_operation.h"
#include "common/roles/orphan_apply.h"
#include "common/update/codec.h"
#include "tools/hotbackup/command.h"

namespace hotbackup::cli {
namespace {

using update::Operation;
using update::OperationKind;
using Json = nlohmann::ordered_json;

constexpr std::size_t kConflictsMax = 100;

using LastUpdate = std::uint64_t (*)(MDB_env*);

/// Calls visit for each operation of the request; returns the environment.
Result<EnvironmentNumber> for_each_operation(
    std::string_view frames, const std::function<Result<>(const Operation&)>& visit) {
  EnvironmentNumber environment;
  while (!frames.empty()) {
    HOTBACKUP_ASSIGN(const auto header,
                     journal::decode(frames.substr(0, journal::kFrameHeaderBytes)));
    const std::size_t size = journal::frame_bytes(header.body_bytes);
    if (size > frames.size() || header.kind != journal::FrameKind::kUpdate)
      return fail(ErrorCode::kCorrupt, "not the frames of an update");
    environment = header.environment;
    HOTBACKUP_TRY(
        update::read_body(frames.substr(journal::kFrameHeaderBytes, header.body_bytes), visit));
    frames.remove_prefix(size);
  }
  return environment;
}

/// What an update touches: items, and databases whole.
class Touched {
 public:
  void add(const Operation& operation) {
    const std::string database = name_of(operation);
    switch (operation.kind) {
      case OperationKind::kValuePart:
        return;
      case OperationKind::kPut:
      case OperationKind::kPutLarge:
      case OperationKind::kDeleteKey:
      case OperationKind::kDeletePair:
        keys_.insert({database, std::string(operation.key)});
        databases_.insert(database);
        return;
      case OperationKind::kCreate:
      case OperationKind::kClear:
      case OperationKind::kDrop:
        whole_.insert(database);
        databases_.insert(database);
    }
  }
  bool meets(const Operation& operation) const {
    const std::string database = name_of(operation);
    const bool whole = operation.kind == OperationKind::kCreate ||
                       operation.kind == OperationKind::kClear ||
                       operation.kind == OperationKind::kDrop;
    if (operation.kind == OperationKind::kValuePart) return false;
    if (whole) return operation.database.main || databases_.contains(database);
    return whole_.contains(database) || whole_.contains("(main)") ||
           keys_.contains({database, std::string(operation.key)});
  }
  static std::string name_of(const Operation& operation) {
    return operation.database.main ? "(main)" : printable(operation.database.name);
  }

 private:
  std::set<std::pair<std::string, std::string>> keys_;
  std::set<std::string> databases_;
  std::set<std::string> whole_;
};

/// What this master has changed since the histories parted, where the orphan changes it too.
Result<Json> find_conflicts(control::Group& group, const roles::OrphanRequest& request,
                            EnvironmentNumber environment, const Touched& touched) {
  const std::set<std::uint64_t> ours(request.ours.begin(), request.ours.end());
  Json conflicts = Json::array();
  journal::Reader reader(group.journal_directory(), group.id());
  if (auto sought = reader.seek(request.after.next()); !sought) {
    if (sought.error().code() != ErrorCode::kGap) return fail(std::move(sought).error());
    conflicts.push_back({{"number", nullptr},
                         {"text", "the journal no longer tells what changed since update " +
                                      std::to_string(request.after.value)}});
    return conflicts;
  }
  const UpdateNumber last = group.published();
  std::set<std::pair<std::uint64_t, std::string>> said;
  while (conflicts.size() < kConflictsMax) {
    HOTBACKUP_ASSIGN(const auto frame, reader.next(last));
    if (!frame) break;
    const journal::FrameHeader& header = frame->header;
    if (header.kind != journal::FrameKind::kUpdate || header.is_void() ||
        header.environment != environment || ours.contains(header.number.value))
      continue;
    HOTBACKUP_TRY(update::read_body(frame->body, [&](const Operation& operation) -> Result<> {
      const std::string where = Touched::name_of(operation) + " " + printable(operation.key);
      if (touched.meets(operation) && said.insert({header.number.value, where}).second)
        conflicts.push_back({{"number", header.number.value},
                             {"time", iso8601(header.commit_time)},
                             {"database", Touched::name_of(operation)},
                             {"key", printable(operation.key)},
                             {"operation", update::operation_kind_name(operation.kind)}});
      return {};
    }));
  }
  return conflicts;
}

Result<> write(lmdb::Environment& environment, const std::string& frames) {
  for (int tries = 0;; ++tries) {
    lmdb::DatabaseHandles handles;
    lmdb::OperationApplier applier(handles);
    auto done = [&]() -> Result<> {
      HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment, /*read_only=*/false));
      const auto written = for_each_operation(
          frames, [&](const Operation& operation) { return applier.apply(txn, operation); });
      if (!written) return fail(written.error());
      return txn.commit();
    }();
    const int rc = done ? 0 : done.error().os_error();
    if (tries == 8 || (rc != MDB_MAP_FULL && rc != MDB_MAP_RESIZED)) return done;
    const std::uint64_t bytes = rc == MDB_MAP_FULL ? environment.info().map_bytes * 2 : 0;
    HOTBACKUP_TRY(environment.set_map_bytes(bytes));
  }
}

Result<int> orphan_write(const std::string& directory, const std::string& path) {
  const auto last_update =
      reinterpret_cast<LastUpdate>(::dlsym(RTLD_DEFAULT, "hotbackup_last_update"));
  if (last_update == nullptr)
    return fail(ErrorCode::kRefused, "this is run under capture, by hotbackup orphans apply");
  HOTBACKUP_ASSIGN(const auto bytes, os::read_file(path, roles::kOrphanBytesMax + (64 << 10)));
  HOTBACKUP_ASSIGN(const auto request, roles::read_request(bytes));
  HOTBACKUP_ASSIGN(const auto group, control::Group::open(directory));
  Touched touched;
  HOTBACKUP_ASSIGN(const auto number, for_each_operation(request.frames, [&](const Operation& op) {
                     touched.add(op);
                     return Result<>();
                   }));
  const auto* entry = group->environment(number);
  if (entry == nullptr)
    return fail(ErrorCode::kFenced,
                "this master has no environment " + std::to_string(number.value));
  Json answer;
  HOTBACKUP_ASSIGN(Json conflicts, find_conflicts(*group, request, number, touched));
  if (!conflicts.empty() && !request.overwrite) {
    answer["conflicts"] = std::move(conflicts);
  } else {
    lmdb::OpenOptions options;
    options.path = entry->path;
    options.subdirectory = entry->subdirectory != 0;
    HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
    HOTBACKUP_TRY(write(environment, request.frames));
    answer["number"] = last_update(environment.get());
    answer["conflicts"] = std::move(conflicts);
  }
  std::printf("%s\n", answer.dump().c_str());
  return kDone;
}

}  // namespace

void add_orphan_write(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("orphan-write")->group("");  // not shown
  auto words = std::make_shared<std::pair<std::string, std::string>>();
  command->add_option("DIRECTORY", words->first)->required();
  command->add_option("FILE", words->second)->required();
  command->callback([&session, words] {
    session.action = [words] { return orphan_write(words->first, words->second); };
  });
}

}  // namespace hotbackup::cli
