// SPDX-License-Identifier: Apache-2.0
// A journal in a temporary directory with its tail in this process's memory.
#pragma once

#include <memory>
#include <string>

#include "common/journal/journal.h"
#include "common/journal/reader.h"
#include "tests/support/temporary_directory.h"

namespace hotbackup::test {

inline GroupId test_group() {
  return *GroupId::from_hex("00112233445566778899aabbccddeeff");
}

class JournalFixture {
 public:
  explicit JournalFixture(std::uint64_t segment_bytes = 1 << 20) : segment_bytes_(segment_bytes) {
    directory_ = *os::open_directory(temporary_.path(), {});
    recover();
  }

  /// Forgets what memory knows, as after a restart, and recovers from the files.
  Result<> recover() {
    auto found = journal::recover_tail(*directory_, test_group());
    if (!found) return fail(std::move(found).error());
    tail_ = std::make_unique<journal::SharedTail>();
    tail_->append_lock.initialize();
    tail_->sync_lock.initialize();
    tail_->made.store(found->made.value);
    tail_->synced.store(found->made.value);
    tail_->segment_first.store(found->segment_first.value);
    tail_->segment_bytes = found->segment_bytes;
    tail_->offset = found->offset;
    tail_->chain = found->chain;
    tail_->generation.store(1);
    journal_ =
        std::make_unique<journal::Journal>(*directory_, *tail_, test_group(), segment_bytes_);
    return {};
  }

  /// Appends an update whose body is `body`, in parts of `part` bytes.
  UpdateNumber append(std::string_view body, std::size_t part = 100'000,
                      std::size_t memory_bytes_max = journal::PendingUpdate::kMemoryBytesMax) {
    journal::PendingUpdate update(*directory_, memory_bytes_max);
    while (!body.empty()) {
      update.body().append(body.substr(0, part));
      (void)update.close_body();
      body.remove_prefix(std::min(part, body.size()));
    }
    auto lock = journal_->lock();
    return journal_->append(*lock, update, {})->number;
  }

  os::Directory& directory() { return *directory_; }
  const std::string& path() const { return temporary_.path(); }
  journal::Journal& journal() { return *journal_; }
  journal::SharedTail& tail() { return *tail_; }
  UpdateNumber made() const { return UpdateNumber(tail_->made.load()); }

 private:
  const std::uint64_t segment_bytes_;
  TemporaryDirectory temporary_;
  std::unique_ptr<os::Directory> directory_;
  std::unique_ptr<journal::SharedTail> tail_;
  std::unique_ptr<journal::Journal> journal_;
};

}  // namespace hotbackup::test
