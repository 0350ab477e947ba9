// SPDX-License-Identifier: Apache-2.0
// The catalogue's values: JSON objects, so that a later version can add to them.
// docs/formats/catalogue.md.
#pragma once

#include "common/catalogue/catalogue.h"

namespace hotbackup::catalogue {

std::string to_text(const IncidentRecord& incident);
std::string to_text(const DeliveryRecord& delivery);
std::string to_text(const Sample& sample);
std::string to_text(const RoleRecord& change);

/// Nothing for what is not such a value.
std::optional<IncidentRecord> incident_of(std::string_view text);
std::optional<DeliveryRecord> delivery_of(std::string_view text);
std::optional<Sample> sample_of(std::string_view text);
std::optional<RoleRecord> role_of(std::string_view text);

}  // namespace hotbackup::catalogue
