// SPDX-License-Identifier: Apache-2.0
#include "common/catalogue/catalogue.h"

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "common/catalogue/values.h"
#include "common/os/ownership.h"

namespace hotbackup::catalogue {
namespace {

constexpr const char* kTableNames[] = {"incidents", "open", "deliveries", "history", "roles"};
constexpr std::uint64_t kMapBytes = std::uint64_t{1} << 30;  // address space; the file is small

/// Big-endian, so that LMDB's order is that of the numbers.
std::string number_key(std::uint64_t number) {
  std::string key(8, '\0');
  for (int i = 7; i >= 0; --i, number >>= 8)
    key[static_cast<std::size_t>(i)] = static_cast<char>(number & 0xff);
  return key;
}
std::uint64_t key_number(std::string_view key) {
  std::uint64_t number = 0;
  for (const char c : key) number = number << 8 | static_cast<unsigned char>(c);
  return number;
}

std::string dated_key(const std::string& group, WallTime time) {
  const auto ns = std::max<std::int64_t>(time.time_since_epoch().count(), 0);
  return group + '\0' + number_key(static_cast<std::uint64_t>(ns));
}

}  // namespace

std::string directory(const std::string& state) {
  return state + "/catalogue";
}

Result<Catalogue> Catalogue::open(const std::string& state, Access access) {
  lmdb::OpenOptions options;
  options.path = directory(state);
  options.read_only = access == Access::kRead;
  options.map_bytes = options.read_only ? 0 : kMapBytes;
  options.max_databases = 16;
  struct stat parent {};
  if (!options.read_only) {
    if (::stat(state.c_str(), &parent) != 0) return fail_errno(state);
    const os::Permissions owner{parent.st_uid, parent.st_gid, 0640};
    HOTBACKUP_TRY(os::make_directories(options.path, owner));
  }
  auto environment = lmdb::Environment::open(options);
  if (!environment) return fail(std::move(environment).error());
  if (!options.read_only)  // whichever user the other server runs as
    for (const bool lock : {false, true})
      os::give(lock ? lmdb::lock_file(options.path, true) : lmdb::data_file(options.path, true),
               {parent.st_uid, parent.st_gid, 0640});
  Catalogue catalogue(std::move(*environment));
  HOTBACKUP_TRY(catalogue.open_tables(!options.read_only));
  return catalogue;
}

Result<> Catalogue::open_tables(bool writable) {
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment_, !writable));
  for (int table = 0; table < kTables; ++table) {
    const int rc =
        mdb_dbi_open(txn.get(), kTableNames[table], writable ? MDB_CREATE : 0, &tables_[table]);
    if (rc != 0) return lmdb::fail_lmdb(environment_.path(), rc);
  }
  return txn.commit();
}

Result<> Catalogue::put(lmdb::Transaction& txn, Table table, const std::string& key,
                        const std::string& value) {
  MDB_val k = lmdb::to_val(key);
  MDB_val v = lmdb::to_val(value);
  if (const int rc = mdb_put(txn.get(), tables_[table], &k, &v, 0); rc != 0)
    return lmdb::fail_lmdb(environment_.path(), rc);
  return {};
}

Result<> Catalogue::erase(lmdb::Transaction& txn, Table table, const std::string& key) {
  MDB_val k = lmdb::to_val(key);
  const int rc = mdb_del(txn.get(), tables_[table], &k, nullptr);
  if (rc != 0 && rc != MDB_NOTFOUND) return lmdb::fail_lmdb(environment_.path(), rc);
  return {};
}

namespace {

struct CloseCursor {
  void operator()(MDB_cursor* cursor) const { mdb_cursor_close(cursor); }
};

Result<> step(MDB_txn* txn, MDB_dbi table, MDB_val key, MDB_cursor_op first, MDB_cursor_op next,
              const std::function<bool(std::string_view, std::string_view)>& each) {
  MDB_cursor* opened = nullptr;
  if (const int rc = mdb_cursor_open(txn, table, &opened); rc != 0)
    return lmdb::fail_lmdb("reading the catalogue", rc);
  const std::unique_ptr<MDB_cursor, CloseCursor> cursor(opened);
  MDB_val value{};
  int rc = mdb_cursor_get(opened, &key, &value, first);
  while (rc == 0 && each(lmdb::to_view(key), lmdb::to_view(value)))
    rc = mdb_cursor_get(opened, &key, &value, next);
  if (rc != 0 && rc != MDB_NOTFOUND) return lmdb::fail_lmdb("reading the catalogue", rc);
  return {};
}

}  // namespace

Result<> Catalogue::walk(lmdb::Transaction& txn, Table table, const std::string& from,
                         const Each& each) {
  const MDB_cursor_op first = from.empty() ? MDB_FIRST : MDB_SET_RANGE;
  return step(txn.get(), tables_[table], lmdb::to_val(from), first, MDB_NEXT, each);
}

Result<> Catalogue::walk_back(lmdb::Transaction& txn, Table table, const Each& each) {
  return step(txn.get(), tables_[table], {}, MDB_LAST, MDB_PREV, each);
}

Result<std::uint64_t> Catalogue::next_id(lmdb::Transaction& txn, Table table) {
  std::uint64_t last = 0;
  HOTBACKUP_TRY(walk_back(txn, table, [&](std::string_view key, std::string_view) {
    last = key_number(key);
    return false;
  }));
  return last + 1;
}

Result<> Catalogue::keep(IncidentRecord& incident) {
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment_, /*read_only=*/false));
  std::uint64_t id = incident.id;
  if (id == 0) {
    HOTBACKUP_ASSIGN(id, next_id(txn, kIncidents));
    if (id > kIncidentsMax) {
      std::string oldest;
      HOTBACKUP_TRY(walk(txn, kIncidents, "", [&](std::string_view key, std::string_view) {
        oldest = key;
        return false;
      }));
      if (key_number(oldest) + kIncidentsMax <= id) HOTBACKUP_TRY(erase(txn, kIncidents, oldest));
    }
  }
  HOTBACKUP_TRY(put(txn, kIncidents, number_key(id), to_text(incident)));
  HOTBACKUP_TRY(incident.cleared ? erase(txn, kOpen, number_key(id))
                                 : put(txn, kOpen, number_key(id), ""));
  HOTBACKUP_TRY(txn.commit());
  incident.id = id;
  return {};
}

Result<std::vector<IncidentRecord>> Catalogue::incidents(const std::string& group, std::size_t most,
                                                         std::uint64_t after) {
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment_, /*read_only=*/true));
  std::vector<IncidentRecord> found;
  HOTBACKUP_TRY(walk_back(txn, kIncidents, [&](std::string_view key, std::string_view value) {
    if (found.size() >= most || key_number(key) <= after) return false;
    if (auto incident = incident_of(value);
        incident && (group.empty() || incident->group == group)) {
      incident->id = key_number(key);
      found.push_back(std::move(*incident));
    }
    return true;
  }));
  return found;
}

Result<std::vector<IncidentRecord>> Catalogue::open_incidents() {
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment_, /*read_only=*/true));
  std::vector<IncidentRecord> found;
  HOTBACKUP_TRY(walk(txn, kOpen, "", [&](std::string_view open, std::string_view) {
    MDB_val key = lmdb::to_val(open);
    MDB_val value{};
    if (mdb_get(txn.get(), tables_[kIncidents], &key, &value) != 0) return true;
    if (auto incident = incident_of(lmdb::to_view(value))) {
      incident->id = key_number(open);
      found.push_back(std::move(*incident));
    }
    return true;
  }));
  return found;
}

Result<> Catalogue::keep(DeliveryRecord& delivery) {
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment_, /*read_only=*/false));
  std::uint64_t id = delivery.id;
  if (id == 0) {
    HOTBACKUP_ASSIGN(id, next_id(txn, kDeliveries));
  }
  HOTBACKUP_TRY(put(txn, kDeliveries, number_key(id), to_text(delivery)));
  HOTBACKUP_TRY(txn.commit());
  delivery.id = id;
  return {};
}

Result<> Catalogue::drop_delivery(std::uint64_t id) {
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment_, /*read_only=*/false));
  HOTBACKUP_TRY(erase(txn, kDeliveries, number_key(id)));
  return txn.commit();
}

Result<std::vector<DeliveryRecord>> Catalogue::deliveries() {
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment_, /*read_only=*/true));
  std::vector<DeliveryRecord> found;
  HOTBACKUP_TRY(walk(txn, kDeliveries, "", [&](std::string_view key, std::string_view value) {
    if (auto delivery = delivery_of(value)) {
      delivery->id = key_number(key);
      found.push_back(std::move(*delivery));
    }
    return true;
  }));
  return found;
}

Result<> Catalogue::put_dated(Table table, const std::string& group, WallTime time,
                              const std::string& value) {
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment_, /*read_only=*/false));
  const std::string kept_from = dated_key(group, time - kHistoryKept);
  std::vector<std::string> old;
  HOTBACKUP_TRY(walk(txn, table, dated_key(group, WallTime()), [&](std::string_view key, auto) {
    if (key >= kept_from || old.size() >= 100) return false;
    old.emplace_back(key);
    return true;
  }));
  for (const std::string& key : old) HOTBACKUP_TRY(erase(txn, table, key));
  HOTBACKUP_TRY(put(txn, table, dated_key(group, time), value));
  return txn.commit();
}

Result<> Catalogue::walk_dated(Table table, const std::string& group, WallTime from,
                               const Each& each) {
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment_, /*read_only=*/true));
  const std::string prefix = group + '\0';
  return walk(txn, table, dated_key(group, from),
              [&](std::string_view key, std::string_view value) {
                return key.starts_with(prefix) && each(key, value);
              });
}

Result<> Catalogue::keep(const std::string& group, const Sample& sample) {
  return put_dated(kHistory, group, sample.time, to_text(sample));
}

Result<> Catalogue::keep(const std::string& group, const RoleRecord& change) {
  return put_dated(kRoles, group, change.time, to_text(change));
}

Result<std::vector<Sample>> Catalogue::samples(const std::string& group, WallTime from) {
  std::vector<Sample> found;
  HOTBACKUP_TRY(walk_dated(kHistory, group, from, [&](std::string_view, std::string_view value) {
    if (auto sample = sample_of(value)) found.push_back(std::move(*sample));
    return true;
  }));
  return found;
}

Result<std::vector<RoleRecord>> Catalogue::roles(const std::string& group, WallTime from) {
  std::vector<RoleRecord> found;
  HOTBACKUP_TRY(walk_dated(kRoles, group, from, [&](std::string_view, std::string_view value) {
    if (auto change = role_of(value)) found.push_back(std::move(*change));
    return true;
  }));
  return found;
}

}  // namespace hotbackup::catalogue
