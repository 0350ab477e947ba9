// SPDX-License-Identifier: Apache-2.0
// What a disk may hold at a power loss, from the calls that were made on its files. docs/testing.md
// has the model in words.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace hotbackup::crash {

inline constexpr std::size_t kPage = 4096;
inline constexpr std::size_t kSector = 512;

using Block = std::array<char, kPage>;
using SharedBlock = std::shared_ptr<const Block>;  // none: zeros

/// One page of a file: what is surely on the disk, and what was written since, oldest first.
struct PageHistory {
  SharedBlock durable;
  std::vector<std::pair<std::uint64_t, SharedBlock>> pending;  // with the time of the write
  std::uint64_t doubtful = 0;  // what was pending at a failed sync, by time: no later one covers it

  const SharedBlock& latest() const { return pending.empty() ? durable : pending.back().second; }
};

/// One file, whatever its names.
struct FileObject {
  std::map<std::uint64_t, PageHistory> pages;
  std::uint64_t durable_size = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> pending_sizes;  // time, size
  std::vector<std::uint64_t> dirty;                                    // pages, may repeat
  unsigned mode = 0660;

  std::uint64_t latest_size() const {
    return pending_sizes.empty() ? durable_size : pending_sizes.back().second;
  }
};

using SharedFile = std::shared_ptr<FileObject>;

/// A change of names that no sync of its directory has covered yet.
struct NameChange {
  std::uint64_t time;
  enum class Kind { kCreate, kRename, kUnlink } kind;
  std::string from, to;  // create: to; unlink: from
  SharedFile file;
};

/// How a state is chosen from all that are possible.
struct Choice {
  std::uint64_t seed = 0;
  bool torn_sectors = false;
};

class DiskModel {
 public:
  /// A file that lies on the disk already, all of it durable.
  void add_durable(std::uint64_t inode, const std::string& path, const std::string& content,
                   unsigned mode);
  void add_directory(const std::string& path) { directories_.push_back(path); }
  void add_link(const std::string& path, const std::string& target) { links_[path] = target; }

  void write(std::uint64_t inode, std::uint64_t offset, const char* bytes, std::size_t length);
  void range_durable(std::uint64_t inode, std::uint64_t offset, std::uint64_t length);
  void resize(std::uint64_t inode, std::uint64_t size);
  void sync_started(std::uint32_t pid, std::uint64_t inode);
  void sync_done(std::uint32_t pid, std::uint64_t inode, const std::string& path, bool good);
  void create(std::uint64_t inode, const std::string& path);
  void rename(const std::string& from, const std::string& to);
  void unlink(const std::string& path);

  /// Writes one state that the calls so far allow below `to`, which is empty or not there; the
  /// names in it start with `root`, which is cut off.
  void write_state(const Choice& choice, const std::string& root, const std::string& to) const;

 private:
  using Names = std::map<std::string, SharedFile>;

  FileObject* find(std::uint64_t inode);
  Names choose_names(std::mt19937_64& random) const;
  static void apply(const NameChange& change, Names& names);
  static SharedBlock choose(const PageHistory& page, int flavour, double keep, bool torn,
                            std::mt19937_64& random);
  static void write_file(const FileObject& file, int flavour, double keep, bool torn,
                         std::mt19937_64& random, const std::string& path);

  std::uint64_t time_ = 0;
  std::map<std::uint64_t, SharedFile> by_inode_;
  Names names_;          // as processes see them
  Names durable_names_;  // as the disk surely has them
  std::vector<NameChange> pending_names_;
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::vector<std::uint64_t>> syncs_;
  std::vector<std::string> directories_;
  std::map<std::string, std::string> links_;
};

}  // namespace hotbackup::crash
