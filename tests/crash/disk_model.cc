// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/disk_model.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <stdexcept>

namespace hotbackup::crash {
namespace {

std::string parent_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

const std::string& directory_name_of(const NameChange& change) {
  return change.to.empty() ? change.from : change.to;
}

}  // namespace

FileObject* DiskModel::find(std::uint64_t inode) {
  const auto found = by_inode_.find(inode);
  return found == by_inode_.end() ? nullptr : found->second.get();
}

void DiskModel::add_durable(std::uint64_t inode, const std::string& path,
                            const std::string& content, unsigned mode) {
  auto file = std::make_shared<FileObject>();
  file->durable_size = content.size();
  file->mode = mode;
  for (std::size_t at = 0; at < content.size(); at += kPage) {
    auto block = std::make_shared<Block>();
    block->fill(0);
    std::memcpy(block->data(), content.data() + at, std::min(kPage, content.size() - at));
    if (std::any_of(block->begin(), block->end(), [](char c) { return c != 0; }))
      file->pages[at / kPage].durable = block;
  }
  by_inode_[inode] = file;
  names_[path] = file;
  durable_names_[path] = file;
}

void DiskModel::write(std::uint64_t inode, std::uint64_t offset, const char* bytes,
                      std::size_t length) {
  FileObject* file = find(inode);
  if (file == nullptr) return;
  ++time_;
  const std::uint64_t end = offset + length;
  while (length > 0) {
    const std::uint64_t number = offset / kPage;
    const std::size_t within = offset % kPage;
    const std::size_t piece = std::min(length, kPage - within);
    PageHistory& page = file->pages[number];
    auto block = std::make_shared<Block>();
    if (page.latest() != nullptr && piece < kPage) {
      *block = *page.latest();
    } else if (piece < kPage) {
      block->fill(0);
    }
    std::memcpy(block->data() + within, bytes, piece);
    page.pending.emplace_back(time_, std::move(block));
    file->dirty.push_back(number);
    bytes += piece;
    offset += piece;
    length -= piece;
  }
  if (end > file->latest_size()) file->pending_sizes.emplace_back(time_, end);
}

// A write with O_DSYNC: its pages are on the disk, others are not; so is the size it needs.
void DiskModel::range_durable(std::uint64_t inode, std::uint64_t offset, std::uint64_t length) {
  FileObject* file = find(inode);
  if (file == nullptr || length == 0) return;
  for (std::uint64_t number = offset / kPage; number <= (offset + length - 1) / kPage; ++number) {
    PageHistory& page = file->pages[number];
    page.durable = page.latest();
    page.pending.clear();
  }
  if (!file->pending_sizes.empty()) {
    file->durable_size = file->latest_size();
    file->pending_sizes.clear();
  }
}

void DiskModel::resize(std::uint64_t inode, std::uint64_t size) {
  FileObject* file = find(inode);
  if (file == nullptr) return;
  ++time_;
  if (size < file->latest_size()) {
    for (auto page = file->pages.lower_bound((size + kPage - 1) / kPage); page != file->pages.end();
         ++page) {
      page->second.pending.emplace_back(time_, nullptr);
      file->dirty.push_back(page->first);
    }
  }
  file->pending_sizes.emplace_back(time_, size);
}

void DiskModel::sync_started(std::uint32_t pid, std::uint64_t inode) {
  syncs_[{pid, inode}].push_back(time_);
}

// Of two syncs of one file by one process the first to be done is taken for the first started: that
// promises the least.
void DiskModel::sync_done(std::uint32_t pid, std::uint64_t inode, const std::string& path,
                          bool good) {
  auto& starts = syncs_[{pid, inode}];
  if (starts.empty()) return;
  const std::uint64_t covered = starts.front();
  starts.erase(starts.begin());
  FileObject* file = find(inode);
  if (file == nullptr) {  // a directory
    if (!good) return;
    std::vector<NameChange> left;
    for (NameChange& change : pending_names_) {
      const bool here = parent_of(directory_name_of(change)) == path ||
                        (!change.from.empty() && parent_of(change.from) == path);
      if (here && change.time <= covered)
        apply(change, durable_names_);
      else
        left.push_back(std::move(change));
    }
    pending_names_ = std::move(left);
    return;
  }
  std::vector<std::uint64_t> left;
  for (const std::uint64_t number : file->dirty) {
    PageHistory& page = file->pages[number];
    if (!good) {
      page.doubtful = std::max(page.doubtful, covered);
    } else {
      const auto newer = std::find_if(page.pending.begin(), page.pending.end(),
                                      [&](const auto& version) { return version.first > covered; });
      if (newer != page.pending.begin() && std::prev(newer)->first > page.doubtful) {
        page.durable = std::prev(newer)->second;
        page.pending.erase(page.pending.begin(), newer);
      }
    }
    if (!page.pending.empty()) left.push_back(number);
  }
  std::sort(left.begin(), left.end());
  left.erase(std::unique(left.begin(), left.end()), left.end());
  file->dirty = std::move(left);
  if (!good) return;
  auto& sizes = file->pending_sizes;
  while (!sizes.empty() && sizes.front().first <= covered) {
    file->durable_size = sizes.front().second;
    sizes.erase(sizes.begin());
  }
  // A sync of a new file brings its first name along, as every Linux file system does; not a
  // rename.
  const auto made =
      std::find_if(pending_names_.begin(), pending_names_.end(), [&](const NameChange& change) {
        return change.kind == NameChange::Kind::kCreate && change.file.get() == file &&
               change.time <= covered;
      });
  if (made != pending_names_.end()) {
    apply(*made, durable_names_);
    pending_names_.erase(made);
  }
}

void DiskModel::create(std::uint64_t inode, const std::string& path) {
  auto file = std::make_shared<FileObject>();
  by_inode_[inode] = file;
  names_[path] = file;
  pending_names_.push_back({++time_, NameChange::Kind::kCreate, "", path, file});
}

void DiskModel::rename(const std::string& from, const std::string& to) {
  const auto found = names_.find(from);
  if (found == names_.end()) return;
  const SharedFile file = found->second;
  names_.erase(found);
  names_[to] = file;
  pending_names_.push_back({++time_, NameChange::Kind::kRename, from, to, file});
}

void DiskModel::unlink(const std::string& path) {
  const auto found = names_.find(path);
  if (found == names_.end()) return;
  pending_names_.push_back({++time_, NameChange::Kind::kUnlink, path, "", found->second});
  names_.erase(found);
}

void DiskModel::apply(const NameChange& change, Names& names) {
  if (!change.from.empty()) {
    const auto found = names.find(change.from);
    if (found != names.end() && found->second == change.file) names.erase(found);
  }
  if (!change.to.empty()) names[change.to] = change.file;
}

// Either each directory keeps a beginning of its changes, as a journalling file system does, or any
// of them may be lost.
DiskModel::Names DiskModel::choose_names(std::mt19937_64& random) const {
  Names names = durable_names_;
  const bool ordered = random() % 3 != 0;
  const unsigned keep = static_cast<unsigned>(random() % 5);  // of four
  std::map<std::string, bool> lost;                           // in this directory from here on
  for (const NameChange& change : pending_names_) {
    bool kept = random() % 4 < keep;
    if (ordered) {
      const std::string here = parent_of(directory_name_of(change));
      const std::string there = change.from.empty() ? here : parent_of(change.from);
      kept = kept && !lost[here] && !lost[there];
      if (!kept) lost[here] = lost[there] = true;
    }
    if (kept) apply(change, names);
  }
  return names;
}

// flavour 0: nothing unsynced was written, 1: everything, 2: any subset of pages in any version.
SharedBlock DiskModel::choose(const PageHistory& page, int flavour, double keep, bool torn,
                              std::mt19937_64& random) {
  if (page.pending.empty() || flavour == 0) return page.durable;
  if (flavour == 1) return page.latest();
  const auto version = [&]() -> SharedBlock {
    if (static_cast<double>(random() % 1000) >= keep * 1000) return page.durable;
    return page.pending[random() % page.pending.size()].second;
  };
  const SharedBlock first = version();
  if (!torn || random() % 2 != 0) return first;
  const SharedBlock second = version();
  if (first == second) return first;
  auto mixed = std::make_shared<Block>();
  mixed->fill(0);
  for (std::size_t at = 0; at < kPage; at += kSector) {
    const SharedBlock& from = random() % 2 != 0 ? first : second;
    if (from != nullptr) std::memcpy(mixed->data() + at, from->data() + at, kSector);
  }
  return mixed;
}

void DiskModel::write_file(const FileObject& file, int flavour, double keep, bool torn,
                           std::mt19937_64& random, const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) throw std::runtime_error("cannot make " + path);
  std::uint64_t size = file.durable_size;
  if (flavour == 1) size = file.latest_size();
  if (flavour == 2 && !file.pending_sizes.empty()) {
    const std::uint64_t chosen = random() % (file.pending_sizes.size() + 1);
    if (chosen > 0) size = file.pending_sizes[chosen - 1].second;
  }
  bool good = ::fchmod(fd, file.mode) == 0 && ::ftruncate(fd, static_cast<off_t>(size)) == 0;
  for (const auto& [number, page] : file.pages) {
    const SharedBlock block = choose(page, flavour, keep, torn, random);
    const std::uint64_t at = number * kPage;
    if (block == nullptr || at >= size) continue;
    const std::size_t length = std::min<std::uint64_t>(kPage, size - at);
    good = good && ::pwrite(fd, block->data(), length, static_cast<off_t>(at)) ==
                       static_cast<ssize_t>(length);
  }
  ::close(fd);
  if (!good) throw std::runtime_error("cannot write " + path);
}

void DiskModel::write_state(const Choice& choice, const std::string& root,
                            const std::string& to) const {
  std::mt19937_64 random(choice.seed);
  const int overall = static_cast<int>(random() % 8);  // 0 and 1: all files alike
  const double keep = static_cast<double>(random() % 11) / 10;
  const Names names = choose_names(random);
  for (const std::string& directory : directories_)
    std::filesystem::create_directories(to + directory.substr(root.size()));
  for (const auto& [path, target] : links_) {
    const std::string link = to + path.substr(root.size());
    if (::symlink(target.c_str(), link.c_str()) != 0 && errno != EEXIST)
      throw std::runtime_error("cannot make " + link);
  }
  for (const auto& [path, file] : names) {
    const int draw = static_cast<int>(random() % 6);  // a third of the files has all or nothing
    const int flavour = overall < 2 ? overall : draw < 2 ? draw : 2;
    write_file(*file, flavour, keep, choice.torn_sectors, random, to + path.substr(root.size()));
  }
}

}  // namespace hotbackup::crash
