// SPDX-License-Identifier: Apache-2.0
#include "common/control/known_difference.h"

#include "common/control/apply_decisions.h"

namespace hotbackup::control {
namespace {

constexpr char kDiffers[] = "HB-copy-differs";

}  // namespace

Result<> note_difference(Group& group, std::string_view copy, const std::string& text) {
  group.incidents().raise(kDiffers, copy, text);
  return change_apply_decisions(group,
                                [&](ApplyDecisions& decisions) { decisions.differs = text; });
}

Result<> forget_difference(Group& group, std::string_view copy) {
  IncidentTable incidents = group.incidents();
  incidents.clear(kDiffers, copy);
  incidents.clear(kDiffers);  // noted before this machine was started, or while it was a slave
  for (const Incident& incident : incidents.open())
    if (incident.code == kDiffers) return {};  // another slave's
  return change_apply_decisions(group,
                                [](ApplyDecisions& decisions) { decisions.differs.clear(); });
}

}  // namespace hotbackup::control
