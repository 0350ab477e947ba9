// SPDX-License-Identifier: Apache-2.0
// A machine's disk in memory that keeps synced and unsynced bytes apart. A power loss drops or
// tears what was not synced, sector by sector and entry by entry; calls fail when told to; the
// process that makes a call can end in it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/os/file.h"
#include "tests/support/random.h"

namespace hotbackup::test {

/// Thrown out of a disk call in which the calling process ends. Not a std::exception: nothing in
/// the product catches it.
struct ProcessEnds {};

struct DiskFaults {
  double read_error = 0;   // EIO, of each call
  double write_error = 0;  // EIO; a part may have been written
  double sync_error = 0;   // EIO; what was dirty counts as clean, and some of it is on the disk
};

/// One thread. Files and directories handed out borrow the disk; after a power loss those from
/// before must not be used.
class SimDisk {
 public:
  static constexpr std::size_t kSectorBytes = 512;
  static constexpr std::size_t kPageBytes = 4096;

  explicit SimDisk(std::uint64_t seed, std::uint64_t capacity = std::uint64_t{1} << 40)
      : random_(seed), capacity_(capacity) {}

  /// A directory; it is there from the first time that it is asked for, durably.
  std::unique_ptr<os::Directory> directory(const std::string& name);

  /// Of what was not synced any subset survives, in units of a page or of a sector; of unsynced
  /// entries of a directory a prefix, or any subset.
  void lose_power();
  /// Some of what is dirty reaches the disk by itself, as a kernel's write-back does.
  void write_back();

  DiskFaults& faults() { return faults_; }
  void set_capacity(std::uint64_t bytes) { capacity_ = bytes; }

  /// The process ends in the `calls`-th call from now that changes something (1: the next one):
  /// before its effect, in the middle of a write, or after it. 0: never.
  void end_process_in(std::uint64_t calls) { ends_in_ = calls; }
  /// Until revive(), calls on the way out of the dead process fail and have no effect.
  void revive() {
    dead_ = false;
    ends_in_ = 0;
  }

  /// Called in the moment a process ends, before what it holds unwinds.
  void on_process_end(std::function<void()> told) { told_ = std::move(told); }

  /// Calls so far that change something.
  std::uint64_t calls() const { return calls_; }
  /// The same calls in the same order give the same number.
  std::uint64_t trace() const { return trace_; }

  /// Whether a power loss now would leave this file its name and these bytes for sure.
  bool durable(const std::string& directory, const std::string& name, std::uint64_t from,
               std::uint64_t to) const;
  /// A disk with nothing but what a power loss now would leave for sure.
  std::unique_ptr<SimDisk> surely_durable() const;
  /// Names that the directory has now.
  std::vector<std::string> names(const std::string& directory) const;
  /// Turns one bit, on the disk and in the cache; false where there is no such byte.
  bool flip_bit(const std::string& directory, const std::string& name, std::uint64_t bit);

 private:
  friend class SimFile;
  friend class SimDirectory;

  struct Inode {
    std::uint64_t id = 0;
    std::string now;          // what reads see
    std::string disk;         // what is on the disk for sure
    std::vector<bool> dirty;  // sectors of `now` that write-back would write
  };
  using Entries = std::map<std::string, std::shared_ptr<Inode>>;
  struct Change {  // of a directory; `inode` empty: a removal of `from`; `from` empty: a creation
    std::string from;
    std::string to;
    std::shared_ptr<Inode> inode;
  };
  struct Folder {
    Entries now;
    Entries disk;
    std::vector<Change> changes;  // since the last sync
  };

  static void apply(const Change& change, Entries& entries);
  void change(Folder& folder, Change change);
  /// Counts a call that changes something; true when the process ends after its effect.
  bool begin_call(char what, std::uint64_t a, std::uint64_t b);
  [[noreturn]] void end_process();
  std::uint64_t used() const;
  void write(Inode& inode, std::uint64_t offset, std::string_view bytes);
  std::string_view part_of(std::string_view bytes);
  void sync(Inode& inode);
  void fail_sync(Inode& inode);
  void tear(Inode& inode, std::size_t unit, double kept);
  void for_each_inode(const std::function<void(Inode&)>& visit);

  Random random_;
  std::uint64_t capacity_;
  DiskFaults faults_;
  std::map<std::string, Folder> folders_;
  std::uint64_t inodes_ = 0;
  std::uint64_t losses_ = 0;  // of power: handles from before are of no use
  std::uint64_t calls_ = 0;
  std::uint64_t trace_ = 0;
  std::uint64_t ends_in_ = 0;
  bool dead_ = false;
  std::function<void()> told_;
};

}  // namespace hotbackup::test
