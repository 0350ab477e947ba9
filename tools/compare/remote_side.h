// SPDX-License-Identifier: Apache-2.0
// A comparison's side on another node, asked through that node's slave server.
#pragma once

#include <memory>
#include <string>

#include "common/roles/peers.h"
#include "tools/compare/side.h"

namespace hotbackup::compare {

class RemoteSide final : public Side {
 public:
  /// kDisconnected where the peer's slave server cannot be reached.
  static Result<std::unique_ptr<RemoteSide>> open(const roles::Here& here, const std::string& peer,
                                                  std::chrono::milliseconds ask_limit = kAskLimit);
  ~RemoteSide() override;
  Result<wire::CompareAnswer> ask(const wire::CompareAsk& ask) override;

 private:
  /// A side that takes its snapshots or puts a repair in.
  static constexpr std::chrono::milliseconds kAskLimit{150'000};
  RemoteSide(std::unique_ptr<roles::PeerLink> link, std::uint64_t token,
             std::chrono::milliseconds ask_limit)
      : link_(std::move(link)), token_(token), ask_limit_(ask_limit) {}
  std::unique_ptr<roles::PeerLink> link_;
  const std::uint64_t token_;
  const std::chrono::milliseconds ask_limit_;
  bool broken_ = false;  // the link is of no more use
};

}  // namespace hotbackup::compare
