// SPDX-License-Identifier: Apache-2.0
// A slave's group with its journal, copies and applier.
#pragma once

#include "slave/applier.h"
#include "tests/support/group_fixture.h"
#include "tests/support/lmdb_content.h"

namespace hotbackup::test {

class ApplierFixture {
 public:
  explicit ApplierFixture(slave::ApplierLimits limits = {})
      : limits_(limits),
        group_(make_group(directory_.path(), group_record(control::Role::kSlave))) {
    make();
  }

  void start() {
    announced_.store(0);
    const auto started = applier_->start();
    if (!started) FAIL(started.error().text());
  }
  void stop() { applier_->stop(); }
  /// As a new process: everything in memory is forgotten.
  void restart() {
    applier_.reset();
    copies_.reset();
    writer_.reset();
    group_.reset();
    group_ = open_group(directory_.path());
    make();
  }
  /// Syncs the journal, wakes the applier and waits until all is applied.
  void apply_all() {
    wake();
    if (!comes_true(
            [&] { return announced_.load() == group_->made().value || !applier_->working(); }))
      FAIL("the applier does not finish");
    if (!applier_->working()) FAIL(group_->incidents().open().at(0).text);
  }
  void wake() {
    writer_->sync();
    applier_->wake();
  }

  std::string path_of(std::uint32_t number) {
    return group_->environment(EnvironmentNumber(number))->path;
  }
  /// With the applier stopped: a process opens an environment once.
  std::string content_of(std::uint32_t number) {
    auto environment = open_environment(path_of(number), 0);
    return test::content(environment);
  }

  control::Group& group() { return *group_; }
  slave::Applier& applier() { return *applier_; }
  slave::Copies& copies() { return *copies_; }
  UpdateWriter& writer() { return *writer_; }
  const std::string& directory() const { return directory_.path(); }

 private:
  void make() {
    writer_ = std::make_unique<UpdateWriter>(*group_);
    copies_ = std::make_unique<slave::Copies>(*group_);
    applier_ = std::make_unique<slave::Applier>(
        *group_, *copies_, [this](UpdateNumber number) { announced_.store(number.value); },
        limits_);
  }

  TemporaryDirectory directory_;
  const slave::ApplierLimits limits_;
  std::atomic<std::uint64_t> announced_{0};
  std::unique_ptr<control::Group> group_;
  std::unique_ptr<UpdateWriter> writer_;
  std::unique_ptr<slave::Copies> copies_;
  std::unique_ptr<slave::Applier> applier_;
};

}  // namespace hotbackup::test
