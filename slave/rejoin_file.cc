// SPDX-License-Identifier: Apache-2.0
#include "slave/rejoin_file.h"

#include <unistd.h>

#include <array>
#include <sstream>

#include "common/control/sealed_text.h"

namespace hotbackup::slave {
namespace {

constexpr std::string_view kTitle = "hotbackup rejoin 1";
constexpr std::array<const char*, 3> kPhases = {"orphans", "fetched", "cut"};

std::string rejoin_path(const std::string& group_directory) {
  return group_directory + "/rejoin";
}

}  // namespace

std::string rejoin_wanted_path(const control::Group& group) {
  return group.directory() + "/rejoin.wanted";
}
std::string rejoin_items_path(const control::Group& group) {
  return group.directory() + "/rejoin.items";
}

Result<std::optional<Rejoin>> read_rejoin(const std::string& group_directory) {
  const std::string path = rejoin_path(group_directory);
  auto text = control::read_sealed(path, kTitle);
  if (!text && text.error().code() == ErrorCode::kNotFound) return std::nullopt;
  if (!text) return fail(std::move(text).error());
  Rejoin rejoin;
  std::istringstream in(*text);
  std::string word[4];
  std::string phase;
  in >> word[0] >> phase >> word[1] >> rejoin.base.value >> word[2] >> rejoin.common.number.value >>
      rejoin.common.epoch.counter >> rejoin.common.epoch.node.value >> rejoin.common.chain.low >>
      rejoin.common.chain.high >> word[3] >> rejoin.through.value >> rejoin.bytes;
  bool known =
      in && word[0] == "phase" && word[1] == "base" && word[2] == "common" && word[3] == "through";
  for (std::string undo; known && in >> undo;) {
    known = undo == "undo" && in >> undo;
    rejoin.undo.push_back(undo);
  }
  known = known && !rejoin.undo.empty();
  for (std::size_t i = 0; i < kPhases.size(); ++i)
    if (phase == kPhases[i]) {
      rejoin.phase = static_cast<Rejoin::Phase>(i);
      if (known) return rejoin;
    }
  return fail(ErrorCode::kCorrupt, path + " is damaged");
}

Result<> write_rejoin(const control::Group& group, const Rejoin& rejoin) {
  std::ostringstream out;
  const Position& common = rejoin.common;
  out << "phase " << kPhases[static_cast<std::size_t>(rejoin.phase)] << "\nbase "
      << rejoin.base.value << "\ncommon " << common.number.value << ' ' << common.epoch.counter
      << ' ' << common.epoch.node.value << ' ' << common.chain.low << ' ' << common.chain.high
      << "\nthrough " << rejoin.through.value << ' ' << rejoin.bytes << "\n";
  for (const std::string& set : rejoin.undo) out << "undo " << set << "\n";
  return control::write_sealed(rejoin_path(group.directory()), kTitle, out.str(),
                               group.permissions());
}

Result<> remove_rejoin(const control::Group& group) {
  for (const std::string& path :
       {rejoin_path(group.directory()), rejoin_wanted_path(group), rejoin_items_path(group)}) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno("removing " + path);
    HOTBACKUP_ASSIGN(auto directory, os::open_directory(group.directory(), group.permissions()));
    HOTBACKUP_TRY(directory->sync());
  }
  return {};
}

}  // namespace hotbackup::slave
