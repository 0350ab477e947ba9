// SPDX-License-Identifier: Apache-2.0
// Two nodes that share a short code come to know each other's keys: what travels, in which order.
// docs/protocol.md, "Pairing"; docs/decisions/0021.
#pragma once

#include <asio/awaitable.hpp>
#include <string>

#include "common/net/listener.h"
#include "common/net/tcp_stream.h"
#include "tools/hotbackup/cpace.h"

namespace hotbackup::cli {

/// The longest that the other side may take for one step.
inline constexpr std::chrono::milliseconds kStepLimit{10'000};

/// TLS with whatever key, then proof of the code by both sides, bound to both keys and to this
/// connection: whoever sits between has two connections, and fails. kRefused: the other side has
/// shown that it does not know the code, which is void then.
/// The listening side proves nothing before the dialling side has.
asio::awaitable<Result<>> agree(net::TcpStream& stream, std::shared_ptr<net::TlsIdentity> key,
                                net::TcpStream::Side side, std::string code);

/// A text with its length in front, within kStepLimit.
asio::awaitable<Result<>> send_text(net::TcpStream& stream, const std::string& text);
asio::awaitable<Result<std::string>> receive_text(net::TcpStream& stream);

/// Answers with this node's key whoever holds the peer's, until cancelled.
asio::awaitable<void> answer_probes(net::Listener& listener, std::shared_ptr<net::TlsIdentity> key,
                                    std::string peer_fingerprint);

}  // namespace hotbackup::cli
