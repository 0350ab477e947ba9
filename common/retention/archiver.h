// SPDX-License-Identifier: Apache-2.0
// Hands closed segments to the administrator's archive command, one after the other.
#pragma once

#include <optional>
#include <string>

#include "common/net/signal.h"
#include "common/net/worker.h"
#include "common/retention/rules.h"

namespace hotbackup::retention {

/// Lives on its server's executor; looks into the journal on `disk`. What was taken is noted
/// durably before the next segment's turn: after a crash a segment may be handed out twice, never
/// left out.
class Archiver {
 public:
  /// Borrows all three.
  Archiver(asio::any_io_executor executor, control::Group& group,
           const config::Group& configuration, net::Worker& disk)
      : group_(group), configuration_(configuration), disk_(disk), pause_(executor) {}

  /// Until it is cancelled; a command that runs then is killed. Does nothing without a command.
  asio::awaitable<void> run();

 private:
  asio::awaitable<Result<>> archive(Segment segment);
  void tell(const Segment& segment, const Error& error);

  control::Group& group_;
  const config::Group& configuration_;
  net::Worker& disk_;
  net::Signal pause_;
  std::string told_;
};

/// The oldest closed segment that was not archived and whose every commit is decided: a void word
/// may still be set in it until then.
Result<std::optional<Segment>> next_to_archive(control::Group& group);

/// %p the segment's path, %f its file name, %% a percent sign.
std::string expand_archive_command(const std::string& command, const std::string& path,
                                   const std::string& name);

}  // namespace hotbackup::retention
