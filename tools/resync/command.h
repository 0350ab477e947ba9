// SPDX-License-Identifier: Apache-2.0
// The commands of hotbackup-resync; they are registered and end as those of hotbackup do.
#pragma once

#include "tools/hotbackup/command.h"

namespace hotbackup::resync {

using cli::Session;

void add_save(CLI::App& app, Session& session);
void add_restore(CLI::App& app, Session& session);
void add_check(CLI::App& app, Session& session);
void add_export(CLI::App& app, Session& session);
void add_load(CLI::App& app, Session& session);
void add_mark(CLI::App& app, Session& session);
void add_saves(CLI::App& app, Session& session);
/// saves --plan.
Result<int> print_saves_plan(const Session& session, const std::string& group);
void add_drain(CLI::App& app, Session& session);
void add_seed(CLI::App& app, Session& session);
void add_tail(CLI::App& app, Session& session);
void add_drill(CLI::App& app, Session& session);
void add_scheduled(CLI::App& app, Session& session);
void add_failback(CLI::App& app, Session& session);

}  // namespace hotbackup::resync
