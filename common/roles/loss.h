// SPDX-License-Identifier: Apache-2.0
// What a promotion may have lost, said exactly: "nothing", "n updates between … and …", "unknown
// since …". Kept in <group>/promotions, a JSON line each.
#pragma once

#include <optional>
#include <string>

#include "common/roles/change.h"

namespace hotbackup::roles {

/// What is known of the old master.
struct Known {
  UpdateNumber journaled;             // here
  UpdateNumber master_had;            // at least, as it last said
  bool exact = false;                 // it answers, and writes no more: it has no more than that
  std::optional<WallTime> heard;      // its last message
  std::optional<WallTime> last_here;  // commit time of the last update here
};

struct Loss {
  std::string text;
  std::optional<std::uint64_t> updates;  // nothing: not known
};

Loss loss_of(const Known& known);

/// The commit time of update `number` in this journal.
std::optional<WallTime> commit_time(control::Group& group, UpdateNumber number);

/// "rpo 10 s: met", "missed", "not known": how long before `now` the first lost update may have
/// been.
std::string against_rpo(const config::Group& settings, const Loss& loss, const Known& known,
                        WallTime now);

struct Record {
  std::string kind;  // "promote", "switch"
  Epoch epoch;
  UpdateNumber number;
  Loss loss;
  std::string rpo;
  std::vector<Step> steps;
};
/// One line more in <group>/promotions, durably.
Result<> keep(const Here& here, const Record& record);
/// Steps as the commands and the questions' answers carry them: JSON, a list of {step, ms}.
std::string to_json(const std::vector<Step>& steps);
std::vector<Step> steps_from_json(const std::string& text);

}  // namespace hotbackup::roles
