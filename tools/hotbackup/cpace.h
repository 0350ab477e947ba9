// SPDX-License-Identifier: Apache-2.0
// CPace, a password-authenticated key exchange: two who share a short code agree on a strong key,
// and whoever does not know the code can try one guess an exchange, on line, and learns nothing
// else. draft-irtf-cfrg-cpace, suite CPACE-RISTR255-SHA512, initiator and responder;
// docs/decisions/0021.
#pragma once

#include <string>
#include <string_view>

#include "common/base/error.h"

namespace hotbackup::cli {

/// One side of one exchange.
class Cpace {
 public:
  /// What both sides have to agree on, or the exchange fails: the code, who talks to whom over what
  /// (`channel`), and the session.
  struct Shared {
    std::string code;
    std::string channel;
    std::string session;
  };
  static constexpr std::size_t kMessageBytes = 32;
  static constexpr std::size_t kTagBytes = 64;

  enum class Side { kInitiator, kResponder };
  static Result<Cpace> begin(Side side, Shared shared);
  /// With a scalar that is not random: for test vectors.
  static Result<Cpace> begin_with(Side side, Shared shared, std::string scalar);

  /// For the other side.
  const std::string& message() const { return message_; }
  /// The names keep the two sides' proofs apart (the draft's ADa, ADb). kProtocol: not a message
  /// that an honest side could have sent.
  Result<> receive(std::string_view message, std::string_view own_name, std::string_view peer_name);
  /// After receive(): proves to the other side that this one knows the code.
  std::string tag() const;
  /// Whether the other side's tag proves the same.
  bool proves(std::string_view tag) const;
  /// The key of both sides (ISK). Worth nothing before the other side's tag was right.
  const std::string& key() const { return key_; }

 private:
  Cpace(Side side, Shared shared) : side_(side), shared_(std::move(shared)) {}
  std::string tag_over(std::string_view message, std::string_view name) const;

  Side side_;
  Shared shared_;
  std::string scalar_;
  std::string message_;
  std::string peer_message_;
  std::string own_name_;
  std::string peer_name_;
  std::string key_;
};

/// "483-201-774": from the system's random numbers.
std::string make_code();
/// Its digits, however it was typed; empty for what is no code.
std::string code_digits(std::string_view typed);

}  // namespace hotbackup::cli
