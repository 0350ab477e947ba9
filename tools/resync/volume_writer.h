// SPDX-License-Identifier: Apache-2.0
// The journal into volumes of a set size: each readable alone, naming the one before it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/control/group.h"
#include "tools/resync/container.h"
#include "tools/resync/streams.h"

namespace hotbackup::resync {

struct VolumePlace {
  Destination to;
  std::uint64_t bytes = 1 << 30;  // of a volume, about: an update is never divided
  std::string filter;
  /// Makes the next volume ready before one is begun where the last is full, and is told the name
  /// of that; nothing to do in a directory.
  std::function<Result<>(std::uint64_t volume)> next_ready;
};

struct VolumeReport {
  std::string path;
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::uint64_t bytes = 0;
};

/// One open volume at most. Destroyed in the middle of one, that one leaves nothing.
class VolumeWriter {
 public:
  /// Borrows the group. `from`: what the first frame follows.
  VolumeWriter(control::Group& group, VolumePlace place, const Position& from,
               std::string predecessor);
  ~VolumeWriter();

  /// The next frame of the journal; a full volume is closed before an update.
  Result<> frame(const journal::FrameView& frame);
  /// Between updates: closes the volume, if one is open, and gives it its name.
  Result<> close();
  bool open() const { return writer_ != nullptr; }
  const Position& position() const { return position_; }
  const std::vector<VolumeReport>& volumes() const { return volumes_; }

 private:
  Result<> begin();
  Result<> push();
  std::string path_for_part() const;

  control::Group& group_;
  const VolumePlace place_;
  Position position_;  // after the last whole update
  Position begun_;
  std::string predecessor_;
  std::unique_ptr<Sink> sink_;
  std::unique_ptr<ContainerWriter> writer_;
  std::string block_;
  Json head_;
  std::string part_path_;
  std::uint64_t raw_bytes_ = 0;
  std::uint64_t updates_ = 0;
  std::int64_t last_time_ns_ = 0;
  Json marks_;
  std::vector<VolumeReport> volumes_;
};

}  // namespace hotbackup::resync
