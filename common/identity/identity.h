// SPDX-License-Identifier: Apache-2.0
// Who this node is: an Ed25519 key in <state>/identity.key, made on first use, and a certificate
// for it in <state>/identity.crt. Peers pin the fingerprint, so the key is never replaced by
// itself.
#pragma once

#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/base/ids.h"

namespace hotbackup::identity {

struct Identity {
  /// "SHA256:" and the unpadded base64 of SHA-256 over the public key (DER SubjectPublicKeyInfo).
  std::string fingerprint;
  /// The first eight bytes of that hash, little-endian; never 0.
  NodeId node_id;
};

/// Reads the key, or makes it (and the state directory) if there is none; remakes a certificate
/// that is missing, damaged, of another key or of another name. Both files have mode 0600 and
/// survive a power loss once this returned. Safe when several processes are first at once: all
/// return the same. kConfig: the key file is not a private file of root or of this user; kCorrupt:
/// it is no Ed25519 key.
Result<Identity> load_or_create(const std::string& state_directory, std::string_view node_name);

}  // namespace hotbackup::identity
