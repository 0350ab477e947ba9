// SPDX-License-Identifier: Apache-2.0
// Reads what interpose.c recorded and makes disk states of it.
//
//   crash_rebuild LOG TREE ROOT
//
// TREE is what the disk held when recording began, under the names that start with ROOT. It is read
// at once. Prints "ready", waits for a line "go", then reads LOG and prints "entries N", a line
// "oracle INDEX LENGTH" with that many bytes behind it for each thing a writer said, a line "point
// INDEX" for each entry that is no write, and "end". Then each line "state CUT SEED TORN DIRECTORY"
// (cuts never go back) writes one state, of what was recorded before entry CUT, and is answered
// with "done".
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "tests/crash/disk_model.h"
#include "tests/crash/record.h"

namespace hotbackup::crash {
namespace {

namespace fs = std::filesystem;

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

void read_tree(const std::string& tree, const std::string& root, DiskModel& model) {
  model.add_directory(root);
  for (const auto& entry : fs::recursive_directory_iterator(tree)) {
    const std::string path = root + entry.path().string().substr(tree.size());
    struct stat status {};
    if (::lstat(entry.path().c_str(), &status) != 0) continue;
    if (S_ISLNK(status.st_mode)) {
      model.add_link(path, fs::read_symlink(entry.path()).string());
    } else if (S_ISDIR(status.st_mode)) {
      model.add_directory(path);
    } else if (S_ISREG(status.st_mode)) {
      model.add_durable(status.st_ino, path, content_of(entry.path().string()),
                        status.st_mode & 07777);
    }
  }
}

std::vector<const record_entry*> read_log(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  void* at = ::mmap(nullptr, kRecordLogBytes, PROT_READ, MAP_SHARED, fd, 0);
  if (fd < 0 || at == MAP_FAILED) throw std::runtime_error("cannot map " + path);
  const auto* log = static_cast<const record_log*>(at);
  if (log->full.load() != 0) throw std::runtime_error("the record is full");
  std::vector<const record_entry*> entries;
  for (std::uint64_t from = kRecordLogStart; from < log->tail.load();) {
    const auto* entry = reinterpret_cast<const record_entry*>(static_cast<const char*>(at) + from);
    if (entry->size == 0) break;  // its process died here
    if (entry->type.load() != 0) entries.push_back(entry);
    from += entry->size;
  }
  return entries;
}

void replay(const record_entry& entry, DiskModel& model) {
  const char* first = entry.payload;
  const auto second = [&] { return std::string(first + std::string(first).size() + 1); };
  switch (entry.type.load()) {
    case kRecordWrite:
      model.write(entry.inode, entry.a, first, entry.length);
      break;
    case kRecordDurable:
      model.range_durable(entry.inode, entry.a, entry.length);
      break;
    case kRecordSyncStart:
      model.sync_started(entry.pid, entry.inode);
      break;
    case kRecordSynced:
      model.sync_done(entry.pid, entry.inode, first, true);
      break;
    case kRecordSyncFailed:
      model.sync_done(entry.pid, entry.inode, "", false);
      break;
    case kRecordSize:
      model.resize(entry.inode, entry.a);
      break;
    case kRecordCreate:
      model.create(entry.inode, first);
      break;
    case kRecordRename:
      model.rename(first, second());
      break;
    case kRecordUnlink:
      model.unlink(first);
      break;
    case kRecordMkdir:
      model.add_directory(first);
      break;
    case kRecordSymlink:
      model.add_link(first, second());
      break;
    default:
      break;
  }
}

int serve(const std::string& log, const std::string& tree, const std::string& root) {
  DiskModel model;
  for (const char* node : {"/paris", "/lyon"}) read_tree(tree + node, root + node, model);
  std::string word;
  std::cout << "ready" << std::endl;
  if (!(std::cin >> word) || word != "go") return 2;
  const auto entries = read_log(log);
  std::cout << "entries " << entries.size() << "\n";
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::uint32_t type = entries[i]->type.load();
    if (type == kRecordOracle) {
      std::cout << "oracle " << i << " " << entries[i]->length << "\n";
      std::cout.write(entries[i]->payload, static_cast<std::streamsize>(entries[i]->length));
    } else if (type != kRecordWrite && type != kRecordDurable) {
      std::cout << "point " << i << "\n";
    }
  }
  std::cout << "end" << std::endl;
  std::size_t done = 0, cut = 0;
  Choice choice;
  std::string to;
  while (std::cin >> word >> cut >> choice.seed >> choice.torn_sectors >> to) {
    if (cut < done || cut > entries.size()) return 2;
    for (; done < cut; ++done) replay(*entries[done], model);
    model.write_state(choice, root, to);
    std::cout << "done" << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace hotbackup::crash

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    return hotbackup::crash::serve(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "crash_rebuild: %s\n", error.what());
    return 1;
  }
}
