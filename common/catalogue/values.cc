// SPDX-License-Identifier: Apache-2.0
#include "common/catalogue/values.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace hotbackup::catalogue {
namespace {

using nlohmann::ordered_json;

std::string dump(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::int64_t ns_of(WallTime time) {
  return time.time_since_epoch().count();
}
WallTime time_of(const ordered_json& json, const char* name) {
  return WallTime(std::chrono::nanoseconds(json.at(name).get<std::int64_t>()));
}

/// What `read` makes of the object, or nothing when it is none or lacks something.
template <class T, class Read>
std::optional<T> parsed(std::string_view text, Read read) {
  const ordered_json json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  try {
    T value;
    read(json, value);
    return value;
  } catch (const ordered_json::exception&) {
    return std::nullopt;
  }
}

}  // namespace

std::string to_text(const IncidentRecord& incident) {
  return dump({{"group", incident.group},
               {"code", incident.code},
               {"subject", incident.subject},
               {"text", incident.text},
               {"first_ns", ns_of(incident.first)},
               {"last_ns", ns_of(incident.last)},
               {"cleared_ns",
                incident.cleared ? ordered_json(ns_of(*incident.cleared)) : ordered_json(nullptr)},
               {"count", incident.count},
               {"told", static_cast<int>(incident.told)}});
}

std::optional<IncidentRecord> incident_of(std::string_view text) {
  return parsed<IncidentRecord>(text, [](const ordered_json& json, IncidentRecord& incident) {
    incident.group = json.at("group").get<std::string>();
    incident.code = json.at("code").get<std::string>();
    incident.subject = json.at("subject").get<std::string>();
    incident.text = json.at("text").get<std::string>();
    incident.first = time_of(json, "first_ns");
    incident.last = time_of(json, "last_ns");
    if (!json.at("cleared_ns").is_null()) incident.cleared = time_of(json, "cleared_ns");
    incident.count = json.at("count").get<std::uint64_t>();
    incident.told = static_cast<IncidentRecord::Told>(std::clamp(json.at("told").get<int>(), 0, 2));
  });
}

std::string to_text(const DeliveryRecord& delivery) {
  return dump({{"to", delivery.to},
               {"message", delivery.message},
               {"made_ns", ns_of(delivery.made)},
               {"next_ns", ns_of(delivery.next)},
               {"attempts", delivery.attempts}});
}

std::optional<DeliveryRecord> delivery_of(std::string_view text) {
  return parsed<DeliveryRecord>(text, [](const ordered_json& json, DeliveryRecord& delivery) {
    delivery.to = json.at("to").get<std::string>();
    delivery.message = json.at("message").get<std::string>();
    delivery.made = time_of(json, "made_ns");
    delivery.next = time_of(json, "next_ns");
    delivery.attempts = json.at("attempts").get<std::uint32_t>();
  });
}

std::string to_text(const Sample& sample) {
  return dump({{"time_ns", ns_of(sample.time)},
               {"role", sample.role},
               {"published", sample.published},
               {"exposure_updates", sample.exposure_updates},
               {"exposure_seconds", sample.exposure_seconds},
               {"lag_seconds", sample.lag_seconds},
               {"round_trip_ms",
                sample.round_trip_ms ? ordered_json(*sample.round_trip_ms) : ordered_json(nullptr)},
               {"good", sample.good}});
}

std::optional<Sample> sample_of(std::string_view text) {
  return parsed<Sample>(text, [](const ordered_json& json, Sample& sample) {
    sample.time = time_of(json, "time_ns");
    sample.role = json.at("role").get<std::string>();
    sample.published = json.at("published").get<std::uint64_t>();
    sample.exposure_updates = json.at("exposure_updates").get<std::uint64_t>();
    sample.exposure_seconds = json.at("exposure_seconds").get<double>();
    sample.lag_seconds = json.at("lag_seconds").get<double>();
    if (!json.at("round_trip_ms").is_null())
      sample.round_trip_ms = json.at("round_trip_ms").get<double>();
    sample.good = json.at("good").get<bool>();
  });
}

std::string to_text(const RoleRecord& change) {
  return dump({{"time_ns", ns_of(change.time)},
               {"role", change.role},
               {"epoch", change.epoch},
               {"master", change.master}});
}

std::optional<RoleRecord> role_of(std::string_view text) {
  return parsed<RoleRecord>(text, [](const ordered_json& json, RoleRecord& change) {
    change.time = time_of(json, "time_ns");
    change.role = json.at("role").get<std::string>();
    change.epoch = json.at("epoch").get<std::uint64_t>();
    change.master = json.at("master").get<std::string>();
  });
}

}  // namespace hotbackup::catalogue
