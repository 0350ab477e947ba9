// SPDX-License-Identifier: Apache-2.0
#include "tests/support/sim_disk.h"

#include <algorithm>
#include <functional>

#include "common/base/check.h"

namespace hotbackup::test {
namespace {

tl::unexpected<Error> injected(const char* what) {
  return fail_errno(std::string("simulated disk, ") + what, EIO);
}
tl::unexpected<Error> dead() {
  return fail(ErrorCode::kCancelled, "the process has ended");
}

}  // namespace

class SimFile final : public os::File {
 public:
  SimFile(SimDisk& disk, std::shared_ptr<SimDisk::Inode> inode, bool writable)
      : disk_(disk), inode_(std::move(inode)), writable_(writable), losses_(disk.losses_) {}

  Result<std::size_t> read_at(std::uint64_t offset, char* to, std::size_t size) override {
    HOTBACKUP_CHECK(losses_ == disk_.losses_);
    if (disk_.dead_) return dead();
    if (disk_.random_.chance(disk_.faults_.read_error)) return injected("a read");
    if (offset >= inode_->now.size()) return 0;
    return inode_->now.copy(to, size, offset);
  }

  Result<> write_at(std::uint64_t offset, std::string_view bytes) override {
    HOTBACKUP_CHECK(losses_ == disk_.losses_ && writable_);
    if (disk_.dead_) return dead();
    const bool ends = disk_.begin_call('w', offset, bytes.size());
    if (ends && disk_.random_.chance(0.3)) disk_.end_process();
    const std::uint64_t end = offset + bytes.size();
    if (end > inode_->now.size() && disk_.used() + end - inode_->now.size() > disk_.capacity_)
      return fail_errno("simulated disk, a write", ENOSPC);
    const bool error = disk_.random_.chance(disk_.faults_.write_error);
    if (error || (ends && disk_.random_.chance(0.5))) bytes = disk_.part_of(bytes);
    disk_.write(*inode_, offset, bytes);
    if (ends) disk_.end_process();
    if (error) return injected("a write");
    return {};
  }

  Result<> sync_data() override {
    HOTBACKUP_CHECK(losses_ == disk_.losses_);
    if (disk_.dead_) return dead();
    const bool ends = disk_.begin_call('s', inode_->id, 0);
    if (ends && disk_.random_.chance(0.5)) disk_.end_process();
    if (disk_.random_.chance(disk_.faults_.sync_error)) {
      disk_.fail_sync(*inode_);
      return injected("a sync");
    }
    disk_.sync(*inode_);
    if (ends) disk_.end_process();
    return {};
  }

  Result<std::uint64_t> size() override {
    if (disk_.dead_) return dead();
    return inode_->now.size();
  }

  Result<> allocate(std::uint64_t size, bool zeroed) override {
    HOTBACKUP_CHECK(losses_ == disk_.losses_ && writable_);
    if (disk_.dead_) return dead();
    if (disk_.begin_call('a', inode_->id, size)) disk_.end_process();
    const std::uint64_t before = inode_->now.size();
    if (size > before && disk_.used() + size - before > disk_.capacity_)
      return fail_errno("simulated disk, making room", ENOSPC);
    if (size > before) disk_.write(*inode_, before, std::string(size - before, '\0'));
    if (zeroed) disk_.write(*inode_, 0, std::string(size, '\0'));
    return {};
  }

 private:
  SimDisk& disk_;
  const std::shared_ptr<SimDisk::Inode> inode_;
  const bool writable_;
  const std::uint64_t losses_;
};

class SimDirectory final : public os::Directory {
 public:
  SimDirectory(SimDisk& disk, SimDisk::Folder& folder)
      : disk_(disk), folder_(folder), losses_(disk.losses_) {}

  Result<std::unique_ptr<os::File>> open(const std::string& name, bool writable) override {
    HOTBACKUP_CHECK(losses_ == disk_.losses_);
    if (disk_.dead_) return dead();
    const auto found = folder_.now.find(name);
    if (found == folder_.now.end()) return fail_errno("simulated disk, opening " + name, ENOENT);
    return std::make_unique<SimFile>(disk_, found->second, writable);
  }

  Result<std::unique_ptr<os::File>> create(const std::string& name) override {
    HOTBACKUP_TRY(begin('c'));
    if (folder_.now.count(name) != 0) return fail_errno("simulated disk, making " + name, EEXIST);
    auto inode = std::make_shared<SimDisk::Inode>();
    inode->id = ++disk_.inodes_;
    disk_.change(folder_, {"", name, inode});
    end();
    return std::make_unique<SimFile>(disk_, std::move(inode), /*writable=*/true);
  }

  Result<> rename(const std::string& from, const std::string& to) override {
    HOTBACKUP_TRY(begin('m'));
    const auto found = folder_.now.find(from);
    if (found == folder_.now.end()) return fail_errno("simulated disk, renaming " + from, ENOENT);
    disk_.change(folder_, {from, to, found->second});
    end();
    return {};
  }

  Result<> remove(const std::string& name) override {
    // Destructors remove files, and nothing may be thrown out of them: the next call ends it.
    if (disk_.ends_in_ == 1) ++disk_.ends_in_;
    HOTBACKUP_TRY(begin('r'));
    if (folder_.now.count(name) == 0) return fail_errno("simulated disk, removing " + name, ENOENT);
    disk_.change(folder_, {name, "", nullptr});
    end();
    return {};
  }

  // By age and not by name: names hold process ids, which differ from run to run.
  Result<std::vector<std::string>> list() override {
    HOTBACKUP_CHECK(losses_ == disk_.losses_);
    if (disk_.dead_) return dead();
    std::vector<std::pair<std::uint64_t, std::string>> found;
    for (const auto& [name, inode] : folder_.now) found.emplace_back(inode->id, name);
    std::sort(found.begin(), found.end());
    std::vector<std::string> names;
    for (auto& [id, name] : found) names.push_back(std::move(name));
    return names;
  }

  Result<> sync() override {
    HOTBACKUP_TRY(begin('d'));
    if (disk_.random_.chance(disk_.faults_.sync_error)) return injected("syncing a directory");
    folder_.disk = folder_.now;
    folder_.changes.clear();
    end();
    return {};
  }

 private:
  Result<> begin(char what) {
    HOTBACKUP_CHECK(losses_ == disk_.losses_);
    if (disk_.dead_) return dead();
    ends_ = disk_.begin_call(what, 0, 0);
    if (ends_ && disk_.random_.chance(0.5)) disk_.end_process();
    return {};
  }
  void end() {
    if (ends_) disk_.end_process();
  }

  SimDisk& disk_;
  SimDisk::Folder& folder_;
  const std::uint64_t losses_;
  bool ends_ = false;
};

std::unique_ptr<os::Directory> SimDisk::directory(const std::string& name) {
  return std::make_unique<SimDirectory>(*this, folders_[name]);
}

void SimDisk::apply(const Change& change, Entries& entries) {
  if (!change.from.empty()) {
    const auto found = entries.find(change.from);
    // A rename of a name that did not survive, or of another file that has it now, is none.
    if (found == entries.end() || (change.inode && found->second != change.inode)) return;
    entries.erase(found);
  }
  if (!change.to.empty()) entries[change.to] = change.inode;
}

void SimDisk::change(Folder& folder, Change change) {
  apply(change, folder.now);
  folder.changes.push_back(std::move(change));
}

bool SimDisk::begin_call(char what, std::uint64_t a, std::uint64_t b) {
  ++calls_;
  trace_ = Random(trace_ ^ static_cast<std::uint64_t>(what) ^ (a << 8) ^ (b << 40)).next();
  return ends_in_ != 0 && --ends_in_ == 0;
}

void SimDisk::end_process() {
  if (told_) told_();
  dead_ = true;
  throw ProcessEnds();
}

void SimDisk::for_each_inode(const std::function<void(Inode&)>& visit) {
  std::map<std::uint64_t, std::shared_ptr<Inode>> all;
  for (auto& [name, folder] : folders_) {
    for (auto& [entry, inode] : folder.now) all[inode->id] = inode;
    for (auto& [entry, inode] : folder.disk) all[inode->id] = inode;
  }
  for (auto& [id, inode] : all) visit(*inode);
}

std::uint64_t SimDisk::used() const {
  std::uint64_t bytes = 0;
  for (const auto& [name, folder] : folders_)
    for (const auto& [entry, inode] : folder.now) bytes += inode->now.size();
  return bytes;
}

void SimDisk::write(Inode& inode, std::uint64_t offset, std::string_view bytes) {
  const std::uint64_t end = offset + bytes.size();
  if (inode.now.size() < end) inode.now.resize(end, '\0');
  bytes.copy(inode.now.data() + offset, bytes.size());
  inode.dirty.resize((inode.now.size() + kSectorBytes - 1) / kSectorBytes);
  for (std::uint64_t at = offset / kSectorBytes; at * kSectorBytes < end; ++at)
    inode.dirty[at] = true;
}

/// Copies [from, to) of what reads see to the disk.
namespace {
void store(const std::string& now, std::string& disk, std::size_t from, std::size_t to) {
  to = std::min({to, now.size(), disk.size()});
  if (from < to) now.copy(disk.data() + from, to - from, from);
}
}  // namespace

/// A write that ends early. A word is written whole or not at all.
std::string_view SimDisk::part_of(std::string_view bytes) {
  return bytes.substr(0, bytes.size() <= 8 ? 0 : random_.below(bytes.size()));
}

void SimDisk::sync(Inode& inode) {
  inode.disk.resize(inode.now.size(), '\0');
  for (std::size_t at = 0; at < inode.dirty.size(); ++at) {
    if (inode.dirty[at]) store(inode.now, inode.disk, at * kSectorBytes, (at + 1) * kSectorBytes);
    inode.dirty[at] = false;
  }
}

// As Linux has it: the pages count as clean, what did not reach the disk is not tried again, and
// reads show it until the page leaves the cache.
void SimDisk::fail_sync(Inode& inode) {
  inode.disk.resize(inode.now.size(), '\0');
  const bool evicted = random_.chance(0.3);
  for (std::size_t at = 0; at < inode.dirty.size(); ++at) {
    if (!inode.dirty[at]) continue;
    const std::size_t from = at * kSectorBytes;
    inode.dirty[at] = false;
    if (random_.chance(0.5)) {
      store(inode.now, inode.disk, from, from + kSectorBytes);
    } else if (evicted) {
      store(inode.disk, inode.now, from, from + kSectorBytes);
    }
  }
}

void SimDisk::tear(Inode& inode, std::size_t unit, double kept) {
  if (inode.disk.size() < inode.now.size() && random_.chance(kept))
    inode.disk.resize(inode.now.size(), '\0');
  const std::size_t sectors = unit / kSectorBytes;
  for (std::size_t at = 0; at < inode.dirty.size(); at += sectors) {
    const std::size_t end = std::min(at + sectors, inode.dirty.size());
    bool dirty = false;
    for (std::size_t i = at; i < end; ++i) dirty = dirty || inode.dirty[i];
    if (!dirty || !random_.chance(kept)) continue;
    store(inode.now, inode.disk, at * kSectorBytes, end * kSectorBytes);
    for (std::size_t i = at; i < end; ++i) inode.dirty[i] = false;
  }
}

void SimDisk::lose_power() {
  static constexpr double kKept[] = {0, 0.1, 0.5, 0.9, 1};
  const std::size_t unit = random_.chance(0.5) ? kPageBytes : kSectorBytes;
  const double kept = kKept[random_.below(5)];
  for_each_inode([&](Inode& inode) {
    tear(inode, unit, kept);
    inode.now = inode.disk;
    inode.dirty.assign((inode.now.size() + kSectorBytes - 1) / kSectorBytes, false);
  });
  const bool in_order = random_.chance(0.5);
  for (auto& [name, folder] : folders_) {
    const std::size_t some = random_.below(folder.changes.size() + 1);
    for (std::size_t i = 0; i < folder.changes.size(); ++i)
      if (in_order ? i < some : random_.chance(kept)) apply(folder.changes[i], folder.disk);
    folder.changes.clear();
    folder.now = folder.disk;
  }
  ++losses_;
  revive();
}

void SimDisk::write_back() {
  const double kept = random_.chance(0.5) ? 1 : 0.5;
  for_each_inode([&](Inode& inode) { tear(inode, kPageBytes, kept); });
}

bool SimDisk::durable(const std::string& directory, const std::string& name, std::uint64_t from,
                      std::uint64_t to) const {
  const auto folder = folders_.find(directory);
  if (folder == folders_.end()) return false;
  const auto now = folder->second.now.find(name);
  const auto disk = folder->second.disk.find(name);
  if (now == folder->second.now.end() || disk == folder->second.disk.end() ||
      now->second != disk->second)
    return false;
  const Inode& inode = *disk->second;
  return to <= inode.disk.size() && to <= inode.now.size() &&
         std::string_view(inode.disk).substr(from, to - from) ==
             std::string_view(inode.now).substr(from, to - from);
}

std::unique_ptr<SimDisk> SimDisk::surely_durable() const {
  auto image = std::make_unique<SimDisk>(0);
  for (const auto& [name, folder] : folders_) {
    for (const auto& [entry, inode] : folder.disk) {
      auto copy = std::make_shared<Inode>(*inode);
      copy->now = copy->disk;
      image->folders_[name].now[entry] = std::move(copy);
    }
  }
  return image;
}

std::vector<std::string> SimDisk::names(const std::string& directory) const {
  std::vector<std::string> names;
  if (const auto folder = folders_.find(directory); folder != folders_.end())
    for (const auto& [name, inode] : folder->second.now) names.push_back(name);
  return names;
}

bool SimDisk::flip_bit(const std::string& directory, const std::string& name, std::uint64_t bit) {
  const auto found = folders_[directory].now.find(name);
  if (found == folders_[directory].now.end()) return false;
  Inode& inode = *found->second;
  if (bit / 8 >= inode.now.size() || bit / 8 >= inode.disk.size()) return false;
  for (std::string* bytes : {&inode.now, &inode.disk})
    (*bytes)[bit / 8] = static_cast<char>((*bytes)[bit / 8] ^ (1 << (bit % 8)));
  return true;
}

}  // namespace hotbackup::test
