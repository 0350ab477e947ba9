// SPDX-License-Identifier: Apache-2.0
// The cryptography of an identity, in memory: key, certificate, fingerprint (OpenSSL's libcrypto).
#pragma once

#include <openssl/evp.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace hotbackup::identity {

struct KeyDeleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
/// An Ed25519 key pair.
using Key = std::unique_ptr<EVP_PKEY, KeyDeleter>;

Result<Key> make_key();
Result<std::string> key_to_pem(const Key& key);
/// kCorrupt if the text holds no Ed25519 private key.
Result<Key> key_from_pem(std::string_view pem);

/// SHA-256 over the DER SubjectPublicKeyInfo.
using KeyHash = std::array<char, 32>;
Result<KeyHash> public_key_hash(const Key& key);

/// Self-signed, CN = `name`, valid for 100 years.
Result<std::string> make_certificate_pem(const Key& key, std::string_view name);
/// Whether the text is a certificate of this key and this name.
bool certificate_fits(std::string_view pem, const Key& key, std::string_view name);

}  // namespace hotbackup::identity
