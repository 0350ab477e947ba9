// SPDX-License-Identifier: Apache-2.0
// Prints updates as they are read, a frame at a time, so that an update of any size passes. One
// line an update, or, where content is asked for, its operations below it.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "common/journal/frame.h"
#include "common/update/operation.h"

namespace hotbackup::cli {

struct LogFilter {
  std::optional<std::string> environment;  // its name, or its name in the configuration
  std::optional<std::string> database;     // "" is the main database
  std::optional<std::string> key;          // bytes
  bool data = false;                       // keys and values

  bool shows_operations() const { return data || database || key; }
};

class LogPrinter {
 public:
  enum class Form { kText, kOneObject, kObjectsPerLine };
  struct Names {
    std::string name;
    std::string configured;
  };
  /// Of an environment number.
  using NameOf = std::function<Names(EnvironmentNumber)>;

  LogPrinter(Form form, LogFilter filter, NameOf name_of)
      : form_(form), filter_(std::move(filter)), name_of_(std::move(name_of)) {}

  void begin(const std::string& group);
  /// kCorrupt where a body is no body.
  Result<> frame(const journal::FrameView& frame);
  void end();

 private:
  Result<> count_and_show(const journal::FrameView& frame);
  bool wanted(const journal::FrameHeader& header) const;
  bool wanted(const update::Operation& operation) const;
  void open_update(const journal::FrameHeader& header);
  void show(const update::Operation& operation);
  void close_update(const journal::FrameHeader& header);

  const Form form_;
  const LogFilter filter_;
  const NameOf name_of_;
  bool first_ = true;         // of the array of updates
  bool update_open_ = false;  // something of this update was printed
  bool in_update_ = false;
  bool first_operation_ = true;
  std::uint64_t operations_ = 0;
  std::string detail_;  // of a control frame
};

}  // namespace hotbackup::cli
