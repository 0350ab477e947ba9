// SPDX-License-Identifier: Apache-2.0
// A point in a group's history as people name it: an update's number, a time, a mark, or the end.
#pragma once

#include <string>
#include <string_view>

#include "common/base/clock.h"
#include "common/journal/frame.h"
#include "common/os/file.h"

namespace hotbackup::journal {

struct Point {
  enum class Kind { kNumber, kTime, kMark, kEnd };
  Kind kind = Kind::kEnd;
  UpdateNumber number;
  WallTime time;
  std::string mark;
};

/// "48100", "2026-11-21T06:00:01Z" (parse_time), "mark:NAME", "end". kConfig for anything else.
Result<Point> parse_point(std::string_view text);

/// The last update at this point in a journal that ends with update `last`: of a time, the last one
/// that was committed by then; of a mark, the newest of that name. kNotFound, naming what there is,
/// when the journal does not reach it.
Result<UpdateNumber> find_point(os::Directory& directory, const GroupId& group, const Point& point,
                                UpdateNumber last);

}  // namespace hotbackup::journal
