// SPDX-License-Identifier: Apache-2.0
// A directory whose syncs, files' syncs, reads, writes or new files fail while they are told to.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/os/file.h"

namespace hotbackup::test {

/// What fails, shared by all files of a FailingDirectory.
struct Failing {
  int syncs = 0;            // the next so many syncs of files fail with EIO
  int writes = 0;           // the next so many writes fail with EIO, though all is written
  int reads_left = -1;      // so many reads succeed, then all fail with EIO; -1: none fails
  int directory_syncs = 0;  // the next so many syncs of the directory fail with EIO
  bool create = false;      // making files fails with ENOSPC
  int failed_syncs = 0;     // so far
  std::function<void()> on_failed_sync;  // e.g. what was written is gone
};

class FailingFile final : public os::File {
 public:
  FailingFile(std::unique_ptr<os::File> real, Failing& failing)
      : real_(std::move(real)), failing_(failing) {}
  Result<std::size_t> read_at(std::uint64_t offset, char* to, std::size_t size) override {
    if (failing_.reads_left == 0) return fail_errno("reading", EIO);
    if (failing_.reads_left > 0) --failing_.reads_left;
    return real_->read_at(offset, to, size);
  }
  Result<> write_at(std::uint64_t offset, std::string_view bytes) override {
    auto written = real_->write_at(offset, bytes);
    if (failing_.writes == 0) return written;
    --failing_.writes;
    return fail_errno("writing", EIO);
  }
  Result<> sync_data() override {
    if (failing_.syncs == 0) return real_->sync_data();
    --failing_.syncs;
    ++failing_.failed_syncs;
    if (failing_.on_failed_sync) failing_.on_failed_sync();
    return fail_errno("syncing", EIO);
  }
  Result<std::uint64_t> size() override { return real_->size(); }
  Result<> allocate(std::uint64_t size, bool zeroed) override {
    return real_->allocate(size, zeroed);
  }

 private:
  const std::unique_ptr<os::File> real_;
  Failing& failing_;
};

class FailingDirectory final : public os::Directory {
 public:
  explicit FailingDirectory(os::Directory& real) : real_(real) {}
  Failing failing;

  Result<std::unique_ptr<os::File>> open(const std::string& name, bool writable) override {
    HOTBACKUP_ASSIGN(auto file, real_.open(name, writable));
    return std::make_unique<FailingFile>(std::move(file), failing);
  }
  Result<std::unique_ptr<os::File>> create(const std::string& name) override {
    if (failing.create) return fail_errno("creating", ENOSPC);
    HOTBACKUP_ASSIGN(auto file, real_.create(name));
    return std::make_unique<FailingFile>(std::move(file), failing);
  }
  Result<> rename(const std::string& from, const std::string& to) override {
    return real_.rename(from, to);
  }
  Result<> remove(const std::string& name) override { return real_.remove(name); }
  Result<std::vector<std::string>> list() override { return real_.list(); }
  Result<> sync() override {
    if (failing.directory_syncs == 0) return real_.sync();
    --failing.directory_syncs;
    return fail_errno("syncing the directory", EIO);
  }

 private:
  os::Directory& real_;
};

}  // namespace hotbackup::test
