// SPDX-License-Identifier: Apache-2.0
// A master's group in a temporary directory.
#pragma once

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "common/control/group.h"
#include "tests/support/journal_fixture.h"

namespace hotbackup::test {

class GroupOnDisk {
 public:
  explicit GroupOnDisk(std::uint64_t segment_bytes = 1 << 20) {
    REQUIRE(::mkdir((state_ / "journal").c_str(), 0755) == 0);
    REQUIRE(::mkdir((data_ / "pdns").c_str(), 0755) == 0);
    control::GroupRecord record;
    record.id = test_group();
    record.name = "dns";
    record.node_name = "paris";
    record.node = NodeId(7);
    record.role = control::Role::kMaster;
    record.segment_bytes = segment_bytes;
    record.peers = {"lyon"};
    record.patterns = {{"zones", data_ / "pdns/zones*"}, {"users", data_ / "users"}};
    REQUIRE(control::write_group_file(state_.path(), record));
    group_ = *control::Group::open(state_.path());
  }

  control::Group& group() { return *group_; }
  std::string data(const std::string& name) const { return data_ / name; }

  /// One update of one frame with a body of this size, synced.
  UpdateNumber append(std::size_t body_bytes) {
    journal::PendingUpdate update(group_->journal_directory());
    update.body().append(body_bytes, 'b');
    UpdateNumber number;
    {
      auto lock = group_->journal().lock();
      number = group_->journal().append(*lock, update, {})->number;
    }
    REQUIRE(group_->journal().sync_through(number));
    return number;
  }

 private:
  TemporaryDirectory state_;
  TemporaryDirectory data_;
  std::unique_ptr<control::Group> group_;
};

}  // namespace hotbackup::test
