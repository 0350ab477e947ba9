// SPDX-License-Identifier: Apache-2.0
#include "common/roles/loss.h"

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "common/os/unique_fd.h"

namespace hotbackup::roles {
namespace {

using nlohmann::ordered_json;

ordered_json list_of(const std::vector<Step>& steps) {
  ordered_json list = ordered_json::array();
  for (const Step& step : steps) list.push_back({{"step", step.name}, {"ms", step.milliseconds}});
  return list;
}

std::string counted(std::uint64_t count) {
  return human_count(count) + (count == 1 ? " update" : " updates");
}

}  // namespace

Loss loss_of(const Known& known) {
  const std::uint64_t more =
      known.master_had > known.journaled ? known.master_had.value - known.journaled.value : 0;
  if (known.exact && more == 0) return {"nothing", 0};
  const std::string heard = known.heard ? iso8601(*known.heard) : "its beginning";
  if (more == 0) return {"unknown since " + heard, std::nullopt};
  const std::string from = known.last_here ? iso8601(*known.last_here) : "the beginning";
  const std::string text = counted(more) + " between " + from + " and " + heard;
  if (known.exact) return {text, more};
  return {text + ", and unknown since " + heard, std::nullopt};
}

std::optional<WallTime> commit_time(control::Group& group, UpdateNumber number) {
  if (number.value == 0) return std::nullopt;
  journal::Reader reader(group.journal_directory(), group.id());
  if (!reader.seek(number)) return std::nullopt;
  const auto frame = reader.next(number);
  if (!frame || !*frame) return std::nullopt;
  return (*frame)->header.commit_time;
}

std::string against_rpo(const config::Group& settings, const Loss& loss, const Known& known,
                        WallTime now) {
  if (!settings.rpo) return "off";
  const std::string goal = human_duration(*settings.rpo);
  if (loss.updates && *loss.updates == 0) return goal + ": met";
  const std::optional<WallTime> since =
      known.master_had > known.journaled ? known.last_here : known.heard;
  if (!since) return goal + ": not known";
  return goal + (now - *since <= *settings.rpo
                     ? ": met"
                     : ": missed, by what may be lost since " + iso8601(*since));
}

Result<> keep(const Here& here, const Record& record) {
  ordered_json line{{"time", iso8601(wall_now())},
                    {"kind", record.kind},
                    {"node", here.node()},
                    {"epoch", record.epoch.counter},
                    {"number", record.number.value},
                    {"lost", record.loss.text},
                    {"lost_updates", record.loss.updates ? ordered_json(*record.loss.updates)
                                                         : ordered_json(nullptr)},
                    {"rpo", record.rpo},
                    {"steps", list_of(record.steps)}};
  const std::string text = line.dump() + "\n";
  const std::string path = here.group.directory() + "/promotions";
  const os::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fsync(file.get()) != 0)
    return fail_errno("writing " + path);
  return {};
}

std::string to_json(const std::vector<Step>& steps) {
  return list_of(steps).dump();
}

std::vector<Step> steps_from_json(const std::string& text) {
  std::vector<Step> steps;
  const auto list = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array()) return steps;
  for (const auto& one : list)
    if (one.is_object() && one.contains("step") && one["step"].is_string() && one.contains("ms") &&
        one["ms"].is_number())
      steps.push_back({one["step"], one["ms"]});
  return steps;
}

}  // namespace hotbackup::roles
