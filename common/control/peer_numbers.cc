// SPDX-License-Identifier: Apache-2.0
// The file peer_numbers: what each peer is known to have acknowledged, from before a reboot.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <sstream>

#include "common/control/group.h"
#include "common/control/sealed_text.h"

namespace hotbackup::control {
namespace {

constexpr std::string_view kTitle = "hotbackup peer numbers 1\n";

std::string path_in(const std::string& directory) {
  return directory + "/peer_numbers";
}

}  // namespace

Result<> Group::keep_peer_numbers() {
  std::ostringstream lines;
  lines << "group " << id().to_hex() << "\n";
  const std::uint32_t count = layout_->peer_count.load();
  for (std::uint32_t i = 0; i < count; ++i) {
    const PeerEntry& peer = layout_->peers[i];
    const std::uint64_t applied = peer.applied.load();  // first: never more than journaled
    lines << "peer " << peer.name << " " << peer.journaled.load() << " " << applied << "\n";
  }
  if (lines.str() == kept_peer_numbers_) return {};
  HOTBACKUP_TRY(write_sealed(path_in(directory_), kTitle, lines.str(), permissions()));
  kept_peer_numbers_ = lines.str();
  return {};
}

// What cannot be read says nothing, which is safe: the peers say it when they are heard.
void Group::restore_peer_numbers() {
  const auto text = read_sealed(path_in(directory_), kTitle);
  if (!text) return;
  std::istringstream lines(*text);
  std::string line;
  if (!std::getline(lines, line) || line != "group " + id().to_hex()) return;
  while (std::getline(lines, line)) {
    char name[sizeof PeerEntry{}.name];
    std::uint64_t journaled = 0, applied = 0;
    if (std::sscanf(line.c_str(), "peer %71s %" SCNu64 " %" SCNu64, name, &journaled, &applied) !=
        3)
      continue;
    for (std::uint32_t i = 0; i < layout_->peer_count.load(); ++i) {
      PeerEntry& peer = layout_->peers[i];
      if (std::string_view(peer.name) != name) continue;
      peer.journaled.store(std::min(journaled, made().value));
      peer.applied.store(std::min(applied, made().value));
      peer.sent.store(peer.journaled.load());
    }
  }
}

}  // namespace hotbackup::control
