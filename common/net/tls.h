// SPDX-License-Identifier: Apache-2.0
// TLS 1.3 with keys that are known by their fingerprints, as SSH knows them: no authorities, no
// names, no session that is resumed. docs/protocol.md, docs/decisions/0020.
#pragma once

#include <asio/ssl/context.hpp>
#include <functional>
#include <memory>
#include <string>

#include "common/base/error.h"
#include "common/identity/identity.h"

namespace hotbackup::net {

/// Whether a peer with this key may go on.
using KnowsKey = std::function<bool(const std::string& fingerprint)>;

/// This node's key as TLS needs it, for calls in both directions. Shared by all links of a server;
/// lives on its executor.
class TlsIdentity {
 public:
  static Result<std::shared_ptr<TlsIdentity>> make(const identity::Identity& identity);

  asio::ssl::context& context() { return context_; }
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  TlsIdentity() : context_(asio::ssl::context::tlsv13) {}
  asio::ssl::context context_;
  std::string fingerprint_;
};

/// What a handshake asks of the peer's key. Has to outlive the SSL object it is attached to.
struct KeyCheck {
  KnowsKey knows;
  std::string fingerprint;  // of the key the peer has shown, or empty
  bool known = false;
};
void attach(KeyCheck& check, SSL* ssl);

/// A failed handshake or a failed read, in words: an unknown key, none, a peer that refuses ours,
/// or bytes that are no TLS 1.3.
Error tls_error(const asio::error_code& error, const KeyCheck& check);

}  // namespace hotbackup::net
