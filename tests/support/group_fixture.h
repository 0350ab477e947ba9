// SPDX-License-Identifier: Apache-2.0
// Groups in temporary directories, and updates appended to their journals without capture.
#pragma once

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/control/group.h"
#include "common/lmdb/environment.h"
#include "common/update/codec.h"
#include "tests/support/journal_fixture.h"
#include "tests/support/temporary_directory.h"

namespace hotbackup::test {

inline control::GroupRecord group_record(control::Role role) {
  control::GroupRecord record;
  record.id = test_group();
  record.name = "dns";
  record.node_name = role == control::Role::kMaster ? "paris" : "lyon";
  record.node = NodeId(role == control::Role::kMaster ? 1 : 2);
  record.role = role;
  record.master_name = "paris";
  record.segment_bytes = 1 << 20;
  record.peers = {role == control::Role::kMaster ? "lyon" : "paris"};
  return record;
}

inline std::unique_ptr<control::Group> open_group(const std::string& directory) {
  auto group = control::Group::open(directory);
  if (!group) FAIL(group.error().text());
  return std::move(*group);
}

inline std::unique_ptr<control::Group> make_group(const std::string& directory,
                                                  const control::GroupRecord& record) {
  REQUIRE(os::make_directories(directory + "/journal", {}));
  REQUIRE(control::write_group_file(directory, record));
  return open_group(directory);
}

inline update::EnvironmentBody environment_body(std::uint32_t number, const std::string& name,
                                                bool subdirectory = false) {
  update::EnvironmentBody body;
  body.number = EnvironmentNumber(number);
  body.name = body.configured = name;
  body.subdirectory = subdirectory;
  body.map_bytes = 1 << 20;
  body.mode = 0640;
  return body;
}

/// Appends updates to a group's journal as a master's capture or a slave's receiver would.
class UpdateWriter {
 public:
  explicit UpdateWriter(control::Group& group) : group_(group) {}

  UpdateNumber control(journal::FrameKind kind, const std::string& body) {
    auto lock = group_.journal().lock();
    REQUIRE(lock);
    const auto done = group_.journal().append_control(*lock, kind, body, fields(0));
    REQUIRE(done);
    return done->number;
  }
  void epoch() {
    control(journal::FrameKind::kEpoch, update::write_epoch({{1, NodeId(1)}, "paris"}));
  }
  void environment(const update::EnvironmentBody& body) {
    control(journal::FrameKind::kEnvironment, update::write_environment(body));
  }

  /// One update; `fill` adds operations, as many as it likes.
  using Add = std::function<void(const update::Operation&)>;
  journal::Appended append(std::uint32_t environment, const std::function<void(const Add&)>& fill) {
    journal::PendingUpdate update(group_.journal_directory());
    std::string* body = nullptr;
    std::unique_ptr<update::BodyWriter> writer;
    fill([&](const update::Operation& operation) {
      if (update.body_bytes() >= update::kBodyBytesTarget) {
        REQUIRE(update.close_body());
        writer.reset();
      }
      if (!writer) writer = std::make_unique<update::BodyWriter>(*(body = &update.body()));
      writer->add(operation);
    });
    REQUIRE(update.close_body());
    auto lock = group_.journal().lock();
    REQUIRE(lock);
    const auto done = group_.journal().append(*lock, update, fields(environment));
    if (!done) FAIL(done.error().text());
    return *done;
  }
  journal::Appended append(std::uint32_t environment,
                           const std::vector<update::Operation>& operations) {
    return append(environment, [&](const Add& add) {
      for (const auto& operation : operations) add(operation);
    });
  }
  void sync() { REQUIRE(group_.journal().sync_through(group_.made())); }
  /// What follows belongs to this epoch, which it begins.
  void begin_epoch(const Epoch& epoch) {
    epoch_ = epoch;
    control(journal::FrameKind::kEpoch, update::write_epoch({epoch, "somebody"}));
  }

 private:
  journal::FrameHeader fields(std::uint32_t environment) const {
    journal::FrameHeader header;
    header.epoch = epoch_;
    header.environment = EnvironmentNumber(environment);
    return header;
  }
  control::Group& group_;
  Epoch epoch_{1, NodeId(1)};
};

/// Whether a condition comes true before a deadline.
inline bool comes_true(const std::function<bool()>& condition,
                       std::chrono::seconds deadline = std::chrono::seconds(60)) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace hotbackup::test
