// SPDX-License-Identifier: Apache-2.0
// Who this node is: an Ed25519 key in <state>/identity.key, made on first use, and a certificate
// for it in <state>/identity.crt. Peers pin the fingerprint, so the key is never replaced by
// itself. The certificate names nobody: whoever dials a node is shown it.
#pragma once

#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/base/ids.h"

namespace hotbackup::identity {

struct Identity {
  /// "SHA256:" and the unpadded base64 of SHA-256 over the public key (DER SubjectPublicKeyInfo).
  std::string fingerprint;
  /// The first eight bytes of the first key's hash, little-endian; never 0. It stands in epochs and
  /// baselines, so it stays when the key changes.
  NodeId node_id;
  std::string key_pem;  // secret: never logged
  std::string certificate_pem;
};

/// "SHA256:…" of a public key: DER SubjectPublicKeyInfo.
std::string fingerprint_of(std::string_view public_key_der);

/// Reads the key, or makes it (and the state directory) if there is none; remakes a certificate
/// that is missing, damaged or of another key. Both files have mode 0600 and
/// survive a power loss once this returned. Safe when several processes are first at once: all
/// return the same. kConfig: the key file is not a private file of root or of this user; kCorrupt:
/// it is no Ed25519 key.
Result<Identity> load_or_create(const std::string& state_directory);

/// The fingerprint of the key that is to follow, in <state>/identity.next.key; makes it if there is
/// none. Peers are told of it before it is used.
Result<std::string> prepare_next_key(const std::string& state_directory);
/// From now on the prepared key is this node's. kNotFound when none was prepared.
Result<Identity> use_next_key(const std::string& state_directory);

}  // namespace hotbackup::identity
