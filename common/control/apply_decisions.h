// SPDX-License-Identifier: Apache-2.0
// What people decided about applying on a slave, and what the copies are known to lack. Written by
// commands and the slave server into <group>/applying; a running server is told through the control
// file and answers there. docs/formats/applied.md.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>

#include "common/control/group.h"

namespace hotbackup::control {

struct ApplyDecisions {
  std::optional<bool> paused;      // by the last pause or resume; nothing: as configured
  UpdateNumber through;            // applied at once, paused or not; 0: none
  std::set<UpdateNumber> skipped;  // never applied, also when a range is done again
  std::string differs;             // why the copies are not the master's, one line; "": not known
  std::string unprepared;  // why what was restored may not be promoted, one line; "": it may
};

/// kCorrupt when the file is not what this program writes. No file: no decisions.
Result<ApplyDecisions> read_apply_decisions(const std::string& group_directory);

/// Changes the file, durably, under the journal lock. An unchanged file is not written.
Result<> change_apply_decisions(Group& group, const std::function<void(ApplyDecisions&)>& change);

/// Why what is received is not applied at once, where somebody wants it so: "applying is paused on
/// lyon", "lyon applies 3.0 h late". "" otherwise.
std::string held_back(const Group& group);

/// kFenced, with what to type, while post_restore has not succeeded on what was restored here.
Result<> require_prepared(const Group& group);

/// After a change: the number that layout.apply_answered reaches when the applier has acted on it.
std::uint32_t request_apply(Group& group);

/// The update that is set aside and waits for retry or skip; nothing when there is none.
Result<std::optional<UpdateNumber>> waiting_set_aside(const Group& group,
                                                      const ApplyDecisions& decisions);

/// <group>/setaside/N.frames and N.txt.
std::string set_aside_directory(const Group& group);
std::string set_aside_frames_name(UpdateNumber number);
std::string set_aside_text_name(UpdateNumber number);

}  // namespace hotbackup::control
