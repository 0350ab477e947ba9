// SPDX-License-Identifier: Apache-2.0
// The node's memory beside the journals: which incidents there were, who has still to be told, how
// lag and exposure went, who changed roles. A small LMDB environment, <state>/catalogue, written by
// the one server that keeps watch, read by commands whether servers run or not.
// docs/formats/catalogue.md.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/lmdb/environment.h"

namespace hotbackup::catalogue {

/// From when it was raised until it was cleared; the same cause later is another one.
struct IncidentRecord {
  std::uint64_t id = 0;  // counts up; 0: not kept yet
  std::string group;
  std::string code;
  std::string subject;
  std::string text;  // the last one
  WallTime first;
  WallTime last;
  std::optional<WallTime> cleared;
  std::uint64_t count = 1;  // times raised
  /// How much of it is on its way to the notify list.
  enum class Told { kNothing, kRaised, kCleared } told = Told::kNothing;
};

/// A message that is not delivered yet.
struct DeliveryRecord {
  std::uint64_t id = 0;
  std::string to;
  std::string message;  // JSON, as the webhook gets it
  WallTime made;
  WallTime next;  // not before
  std::uint32_t attempts = 0;
};

/// A minute of a group; worst values.
struct Sample {
  WallTime time;  // its begin
  std::string role;
  std::uint64_t published = 0;  // at its end
  std::uint64_t exposure_updates = 0;
  double exposure_seconds = 0;
  double lag_seconds = 0;
  std::optional<double> round_trip_ms;
  bool good = true;  // nothing was to do all the time
};

/// A change of role as the watch saw it.
struct RoleRecord {
  WallTime time;
  std::string role;
  std::uint64_t epoch = 0;
  std::string master;
};

/// One open catalogue; one a process, used by one thread at a time. What is written is durable when
/// the call returns. A value that cannot be read (kept by a later version) is left out.
class Catalogue {
 public:
  enum class Access { kRead, kWrite };
  /// kNotFound for kRead where no server has made it yet.
  static Result<Catalogue> open(const std::string& state, Access access);

  /// Adds it (id 0), or replaces what is known of it. The oldest go beyond kIncidentsMax.
  Result<> keep(IncidentRecord& incident);
  /// Newest first, no more than `most`; of all groups for "". `after`: only later ids.
  Result<std::vector<IncidentRecord>> incidents(const std::string& group, std::size_t most,
                                                std::uint64_t after = 0);
  /// Those that were not cleared.
  Result<std::vector<IncidentRecord>> open_incidents();

  Result<> keep(DeliveryRecord& delivery);
  Result<> drop_delivery(std::uint64_t id);
  Result<std::vector<DeliveryRecord>> deliveries();

  /// A second one of the same minute replaces the first. Samples and roles older than
  /// kHistoryKept go.
  Result<> keep(const std::string& group, const Sample& sample);
  Result<std::vector<Sample>> samples(const std::string& group, WallTime from);
  Result<> keep(const std::string& group, const RoleRecord& change);
  Result<std::vector<RoleRecord>> roles(const std::string& group, WallTime from);

  static constexpr std::size_t kIncidentsMax = 100'000;
  static constexpr std::chrono::hours kHistoryKept{24 * 400};

 private:
  using Each = std::function<bool(std::string_view key, std::string_view value)>;  // false: enough
  enum Table { kIncidents, kOpen, kDeliveries, kHistory, kRoles, kTables };

  explicit Catalogue(lmdb::Environment environment) : environment_(std::move(environment)) {}
  Result<> open_tables(bool writable);
  Result<> put(lmdb::Transaction& txn, Table table, const std::string& key,
               const std::string& value);
  Result<> erase(lmdb::Transaction& txn, Table table, const std::string& key);
  /// Items from `from` on, or backwards from the end.
  Result<> walk(lmdb::Transaction& txn, Table table, const std::string& from, const Each& each);
  Result<> walk_back(lmdb::Transaction& txn, Table table, const Each& each);
  Result<std::uint64_t> next_id(lmdb::Transaction& txn, Table table);
  Result<> put_dated(Table table, const std::string& group, WallTime time,
                     const std::string& value);
  Result<> walk_dated(Table table, const std::string& group, WallTime from, const Each& each);

  lmdb::Environment environment_;
  MDB_dbi tables_[kTables] = {};
};

/// <state>/catalogue
std::string directory(const std::string& state);

}  // namespace hotbackup::catalogue
