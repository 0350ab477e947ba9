// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/restored_place.h"

#include "common/os/file.h"
#include "tools/resync/save.h"

namespace hotbackup::resync {

Result<> write_restored_place(const std::string& directory, const Restored& restored) {
  RestoredPlace place;
  place.group = restored.head.value("group", "");
  HOTBACKUP_ASSIGN(place.id, GroupId::from_hex(restored.head.value("group_id", "")));
  place.position = restored.position;
  for (const auto& one : restored.environments)
    place.environments.push_back({one.body.number, one.body.name, one.path, one.body.subdirectory});
  return write_restored_place(directory, place);
}

Result<> write_restored_place(const std::string& directory, const RestoredPlace& place) {
  Json environments = Json::array();
  for (const auto& one : place.environments)
    environments.push_back(Json{{"number", one.number.value},
                                {"name", one.name},
                                {"path", one.path},
                                {"subdirectory", one.subdirectory}});
  const Json json{{"group", place.group},
                  {"group_id", place.id.to_hex()},
                  {"number", place.position.number.value},
                  {"chain", place.position.chain.to_hex()},
                  {"epoch", epoch_json(place.position.epoch)},
                  {"environments", std::move(environments)}};
  return os::replace_file(directory + "/" + kRestoredName, json.dump(1) + "\n", {.mode = 0640});
}

Result<RestoredPlace> read_restored_place(const std::string& directory) {
  const std::string path = directory + "/" + kRestoredName;
  HOTBACKUP_ASSIGN(const std::string text, os::read_file(path));
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return fail(ErrorCode::kCorrupt, path + " is damaged");
  RestoredPlace place;
  place.group = json.value("group", "");
  HOTBACKUP_ASSIGN(place.id, GroupId::from_hex(json.value("group_id", "")));
  HOTBACKUP_ASSIGN(const auto chain, chain_from_hex(json.value("chain", "")));
  place.position = {epoch_of(json), UpdateNumber(json.value("number", std::uint64_t{0})), chain};
  for (const Json& one : json.value("environments", Json::array()))
    place.environments.push_back({EnvironmentNumber(one.value("number", 0U)), one.value("name", ""),
                                  one.value("path", ""), one.value("subdirectory", true)});
  return place;
}

}  // namespace hotbackup::resync
