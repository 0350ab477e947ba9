// SPDX-License-Identifier: Apache-2.0
// Starts `hotbackup scheduled GROUP` when the next save of [group.saves] is due.
#pragma once

#include <string>

#include "common/config/configuration.h"
#include "common/control/group.h"
#include "common/net/signal.h"
#include "common/net/worker.h"

namespace hotbackup::retention {

/// Lives on its server's executor. That command decides what is due, does it and leaves in
/// <group>/saves-plan.json when to run it again; it is run once at the start.
class SaveSchedule {
 public:
  /// Borrows group, configuration and worker.
  SaveSchedule(asio::any_io_executor executor, control::Group& group,
               const config::Group& configuration, std::string configuration_path,
               net::Worker& disk)
      : group_(group),
        configuration_(configuration),
        configuration_path_(std::move(configuration_path)),
        disk_(disk),
        pause_(executor) {}

  /// `program`: the administration's, or why it is not there. Until it is cancelled; a command
  /// that runs then is asked to end. Ends by itself where no saves
  /// are asked for and none were.
  asio::awaitable<void> run(const Result<std::string>& program);

 private:
  asio::awaitable<Result<>> make(const std::string& program);

  control::Group& group_;
  const config::Group& configuration_;
  const std::string configuration_path_;
  net::Worker& disk_;
  net::Signal pause_;
};

/// When the command wants to be run again, by its plan; nothing: the plan cannot be read.
std::optional<std::int64_t> planned_ns(const std::string& group_directory);

}  // namespace hotbackup::retention
