// SPDX-License-Identifier: Apache-2.0
#include "master/loss_limit.h"

#include "common/base/clock.h"

namespace hotbackup::master {
namespace {

constexpr char kIncident[] = "HB-loss-limit";

}  // namespace

control::LossLimit loss_limit_of(const config::Group& configuration) {
  control::LossLimit limit;
  if (configuration.loss_limit) {
    const config::LossLimit& configured = *configuration.loss_limit;
    switch (configured.kind) {
      case config::LossLimit::Kind::kUpdates:
        limit.kind = control::LimitKind::kUpdates;
        limit.amount = configured.updates;
        break;
      case config::LossLimit::Kind::kBytes:
        limit.kind = control::LimitKind::kBytes;
        limit.amount = configured.bytes;
        break;
      case config::LossLimit::Kind::kTime:
        limit.kind = control::LimitKind::kTime;
        limit.amount =
            static_cast<std::uint64_t>(std::chrono::nanoseconds(configured.time).count());
        break;
    }
  }
  limit.at_limit = configuration.at_limit == config::AtLimit::kWait     ? control::AtLimit::kWait
                   : configuration.at_limit == config::AtLimit::kRefuse ? control::AtLimit::kRefuse
                                                                        : control::AtLimit::kAlarm;
  limit.wait_max = configuration.wait_max.value_or(config::milliseconds(0));
  limit.applied = configuration.wait_for == config::WaitFor::kApplied;
  using Kind = config::Acknowledge::Kind;
  const config::Acknowledge& acknowledge = configuration.acknowledge;
  limit.peers = acknowledge.kind == Kind::kAll   ? 0
                : acknowledge.kind == Kind::kAny ? 1
                                                 : acknowledge.count;
  return limit;
}

void watch_loss_limit(control::Group& group) {
  const control::Exposure exposure = group.exposure();
  const bool passed = exposure.passed();
  const bool open = group.incidents().find(kIncident).has_value();
  if (passed && !open) {
    const std::uint64_t returned = exposure.returned();
    const std::uint64_t acknowledged = exposure.acknowledged();
    const std::uint64_t count = returned > acknowledged ? returned - acknowledged : 0;
    group.incidents().raise(kIncident, "",
                            human_count(count) + (count == 1 ? " update is" : " updates are") +
                                " exposed, loss_limit is " + control::describe(exposure.limit()));
  }
  if (!passed && open && !exposure.refuses() && !exposure.somebody_waits())
    group.incidents().clear(kIncident);
}

}  // namespace hotbackup::master
