// SPDX-License-Identifier: Apache-2.0
// The chain from a save over volumes to a target.
#pragma once

#include <functional>

#include "common/base/clock.h"
#include "common/journal/frame.h"
#include "tools/resync/found.h"

namespace hotbackup::resync {

struct Chain {
  const Found* save = nullptr;
  std::vector<const Found*> volumes;  // in order; each holds something that those before do not
  std::uint64_t last = 0;             // where the last of them ends
};

struct Choice {
  Target target;                   // a mark is a number by now
  std::vector<Chain> chains;       // the best first; never empty
  std::vector<std::string> notes;  // what was not used, and why
};

/// kRefused, naming the range that can be restored, for a target outside of it; kNotFound without
/// a save. Of updates beyond a gap the notes speak.
Result<Choice> choose_chains(const std::vector<Found>& found, const std::string& group_id,
                             const Target& target);

/// "updates 10 … 42 (2026-… – 2026-…)".
std::string describe_range(const std::vector<Found>& found, const std::string& group_id);

/// Reads volumes one after the other as one stream of checked frames. kGap, kDiverged, kRefused
/// where they do not follow on; frames before `from` are passed over.
Result<> read_volumes(const std::vector<const Found*>& volumes, const Position& from,
                      const std::string& filter,
                      const std::function<Result<bool>(const journal::FrameView&)>& visit);

/// Whether an update is still before the target; marks have become numbers.
class Until {
 public:
  explicit Until(const Target& target) : target_(target) {}
  bool takes(const journal::FrameHeader& header) const;

 private:
  const Target target_;
};

}  // namespace hotbackup::resync
