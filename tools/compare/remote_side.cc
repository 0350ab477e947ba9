// SPDX-License-Identifier: Apache-2.0
#include "tools/compare/remote_side.h"

#include <random>

namespace hotbackup::compare {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kConnectLimit{5000};

}  // namespace

Result<std::unique_ptr<RemoteSide>> RemoteSide::open(const roles::Here& here,
                                                     const std::string& peer,
                                                     milliseconds ask_limit) {
  HOTBACKUP_ASSIGN(auto link, roles::PeerLink::open(here, peer, kConnectLimit));
  std::random_device random;
  const std::uint64_t token = (std::uint64_t{random()} << 32) | random();
  return std::unique_ptr<RemoteSide>(new RemoteSide(std::move(link), token, ask_limit));
}

// The process over there has nothing more to do.
RemoteSide::~RemoteSide() {
  wire::CompareAsk last{wire::CompareAsk::Kind::kRelease};
  last.last = true;
  if (!broken_) (void)ask(last);
}

Result<wire::CompareAnswer> RemoteSide::ask(const wire::CompareAsk& ask) {
  wire::Ask question;
  question.kind = wire::Ask::Kind::kCompare;
  question.token = token_;
  question.body = wire::encode(ask);
  auto asked = link_->ask(std::move(question), ask_limit_);
  broken_ = !asked;
  if (!asked) return fail(std::move(asked).error());
  wire::Answer& answer = *asked;
  if (answer.exit != 0)
    return fail(answer.exit == 3 ? ErrorCode::kFenced : ErrorCode::kIo, std::move(answer.text));
  return wire::decode_compare_answer(answer.body);
}

}  // namespace hotbackup::compare
