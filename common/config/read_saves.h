// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "common/config/configuration.h"
#include "common/config/table_reader.h"

namespace hotbackup::config {

/// [group.saves]; the group's hooks are read already.
void read_saves(const Table& table, Group& group, Faults& faults);

}  // namespace hotbackup::config
