// SPDX-License-Identifier: Apache-2.0
// The incidents of a group on this node, in the control file: raised by whoever notices (a captured
// program too), shown by status with or without servers, cleared when their cause has gone.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/control/layout.h"

namespace hotbackup::control {

struct Incident {
  std::string code;     // of the catalogue (common/incident)
  std::string subject;  // environment, peer or file it is about; "" for the group
  std::string text;
  WallTime first;
  WallTime last;
  std::uint32_t count = 0;  // times raised
  bool open = true;
};

/// May be used by any thread of any process of the group. Blocks for microseconds only. Never
/// fails: what cannot be noted (the table is full of open incidents) replaces the oldest.
class IncidentTable {
 public:
  /// Borrows the mapped control file.
  explicit IncidentTable(Layout& layout) : layout_(layout) {}

  /// One incident a code and subject: raised again, it counts and takes the new text.
  void raise(std::string_view code, std::string_view subject, std::string_view text) noexcept;
  /// Does nothing when it is not open.
  void clear(std::string_view code, std::string_view subject = {}) noexcept;
  /// Whatever the subject.
  void clear_all(std::string_view code) noexcept;

  /// Open ones, newest first. Takes no lock.
  std::vector<Incident> open() const;
  /// With those that were cleared not long ago, oldest first: what came and went between two looks
  /// of the incident log is among them.
  std::vector<Incident> recent() const;
  std::optional<Incident> find(std::string_view code, std::string_view subject = {}) const;

 private:
  Layout& layout_;
};

}  // namespace hotbackup::control
