// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/volume_writer.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <filesystem>

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/journal/mark.h"
#include "common/os/file.h"

#include "tools/resync/filtered.h"
#include "tools/resync/save.h"

namespace hotbackup::resync {
namespace {

std::string digits(std::uint64_t number) {
  char text[32];
  std::snprintf(text, sizeof text, "%016llu", static_cast<unsigned long long>(number));
  return text;
}

}  // namespace

VolumeWriter::VolumeWriter(control::Group& group, VolumePlace place, const Position& from,
                           std::string predecessor)
    : group_(group),
      place_(std::move(place)),
      position_(from),
      begun_(from),
      predecessor_(std::move(predecessor)) {}

VolumeWriter::~VolumeWriter() {
  writer_.reset();
  sink_.reset();
  if (!part_path_.empty()) ::unlink(part_path_.c_str());
}

Result<> VolumeWriter::begin() {
  if (!volumes_.empty() && place_.next_ready) HOTBACKUP_TRY(place_.next_ready(volumes_.size() + 1));
  begun_ = position_;
  raw_bytes_ = 0;
  updates_ = 0;
  marks_ = Json::array();
  switch (place_.to.kind) {
    case Destination::Kind::kDirectory: {
      // Its last number is in its name, which it gets when it is closed.
      part_path_ = place_.to.path + "/" + std::string(group_.layout().group_name) + "-" +
                   digits(position_.number.value + 1) + ".open";
      ::unlink(part_path_.c_str());
      HOTBACKUP_ASSIGN(sink_, make_file_sink(part_path_, place_.filter));
      break;
    }
    case Destination::Kind::kFile: {
      HOTBACKUP_ASSIGN(sink_, make_file_sink(place_.to.path, place_.filter));
      break;
    }
    case Destination::Kind::kStream: {
      HOTBACKUP_ASSIGN(sink_, open_stream_sink(place_.to.path, place_.filter));
      break;
    }
  }
  const WallTime now = wall_now();
  head_ = Json{{"kind", "volume"},
               {"group", group_.layout().group_name},
               {"group_id", group_.id().to_hex()},
               {"node", group_.layout().node_name},
               {"first", position_.number.value + 1},
               {"chain", position_.chain.to_hex()},
               {"epoch", epoch_json(position_.epoch)},
               {"predecessor", predecessor_},
               {"volume", volumes_.size() + 1},
               {"time", iso8601(now)},
               {"time_ns", now.time_since_epoch().count()},
               {"version", HOTBACKUP_VERSION}};
  HOTBACKUP_ASSIGN(writer_, ContainerWriter::begin(*sink_, ContainerKind::kVolume, head_));
  return {};
}

Result<> VolumeWriter::push() {
  if (block_.empty()) return {};
  raw_bytes_ += block_.size();
  std::string block = std::move(block_);
  block_ = {};
  return writer_->add(BlockKind::kFrames, std::move(block));
}

Result<> VolumeWriter::frame(const journal::FrameView& frame) {
  const journal::FrameHeader& header = frame.header;
  if (header.part == 0 && writer_ && writer_->bytes() + block_.size() >= place_.bytes)
    HOTBACKUP_TRY(close());
  if (!writer_) HOTBACKUP_TRY(begin());
  block_ += frame.bytes;
  if (block_.size() >= kBlockRawBytes) HOTBACKUP_TRY(push());
  if (!header.last_part) return {};
  ++updates_;
  last_time_ns_ = header.commit_time.time_since_epoch().count();
  position_ = {header.epoch, header.number, journal::chain_after(frame.bytes)};
  if (header.kind == journal::FrameKind::kMark)
    if (const auto name = journal::mark_name(frame))
      marks_.push_back(Json{{"name", *name}, {"number", header.number.value}});
  return {};
}

Result<> VolumeWriter::close() {
  if (!writer_) return {};
  HOTBACKUP_TRY(push());
  const WallTime now = wall_now();
  const Json end{{"last", position_.number.value},
                 {"chain", position_.chain.to_hex()},
                 {"epoch", epoch_json(position_.epoch)},
                 {"updates", updates_},
                 {"raw_bytes", raw_bytes_},
                 {"last_time_ns", last_time_ns_},
                 {"marks", marks_},
                 {"time", iso8601(now)},
                 {"time_ns", now.time_since_epoch().count()}};
  HOTBACKUP_TRY(writer_->end(end));
  sink_->describe(head_, end);
  VolumeReport report{place_.to.path, begun_.number.value + 1, position_.number.value,
                      writer_->bytes()};
  writer_.reset();
  auto finished = sink_->finish();
  sink_.reset();
  HOTBACKUP_TRY(std::move(finished));
  if (!part_path_.empty()) {
    const std::string name = std::string(group_.layout().group_name) + "-" + digits(report.first) +
                             "-" + digits(report.last) + ".hbv";
    report.path = place_.to.path + "/" + name;
    HOTBACKUP_TRY(rename_info(part_path_, report.path));
    if (::rename(part_path_.c_str(), report.path.c_str()) != 0)
      return fail_errno("naming " + report.path);
    part_path_.clear();
    HOTBACKUP_ASSIGN(auto directory, os::open_directory(place_.to.path, {}));
    HOTBACKUP_TRY(directory->sync());
  }
  predecessor_ = std::filesystem::path(report.path).filename();
  volumes_.push_back(std::move(report));
  return {};
}

}  // namespace hotbackup::resync
