// SPDX-License-Identifier: Apache-2.0
// What a returning slave asks for to undo what only it had: items and databases as they are at one
// update number. docs/decisions/0031-rejoin.md.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "master/cut.h"
#include "master/item_writer.h"

namespace hotbackup::master {

/// Lives on one thread at a time; blocks on the disk. Holds the snapshots as long as it lives.
class FetchSource {
 public:
  static Result<std::unique_ptr<FetchSource>> cut(
      control::Group& group, std::chrono::milliseconds wait = std::chrono::seconds(10));
  ~FetchSource();

  /// The snapshots show everything through this, which is published.
  const Position& position() const { return position_; }

  /// The snapshots, in number order.
  std::vector<CutEnvironment*> environments() const;

  /// A body of operations that undo: kDeleteKey asks for that key with all its duplicates, kDrop
  /// for a whole database, kClear of the main database for the whole environment. What is not there
  /// here gets no answer. kNotFound for an environment that is not here. The one before is given
  /// out.
  Result<> want(EnvironmentNumber environment, std::string_view body);
  /// The next piece of the answer, operations to follow those of the request; false at the end.
  Result<bool> next(std::string& body);

 private:
  struct Place;
  struct Want {
    bool whole = false;  // of the database
    bool main = false;
    std::string name;
    std::string key;
  };
  FetchSource();
  Result<> start(Want want, update::BodyWriter& writer);
  Result<> give(update::BodyWriter& writer);

  Position position_;
  std::map<EnvironmentNumber, std::unique_ptr<Place>> places_;
  Place* place_ = nullptr;
  std::deque<Want> wanted_;
};

}  // namespace hotbackup::master
