// SPDX-License-Identifier: Apache-2.0
#include "common/net/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/ssl/error.hpp>

namespace hotbackup::net {
namespace {

// An Ed25519 certificate is 300 bytes; a stranger's may not cost more than this.
constexpr long kCertificateBytesMax = 4096;

int check_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

std::string public_key_of(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (size <= 0) return {};
  std::string bytes(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return bytes;
}

/// In place of a search for authorities: the key itself is known or not. That the peer holds it is
/// proved by its signature, which OpenSSL checks after this.
int verify(X509_STORE_CTX* store, void*) noexcept {
  const auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* check =
      ssl == nullptr ? nullptr : static_cast<KeyCheck*>(SSL_get_ex_data(ssl, check_index()));
  X509* certificate = X509_STORE_CTX_get0_cert(store);
  X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
  if (check == nullptr || certificate == nullptr) return 0;
  try {
    const std::string key = public_key_of(certificate);
    if (key.empty()) return 0;
    check->fingerprint = identity::fingerprint_of(key);
    check->known = check->knows(check->fingerprint);
  } catch (...) {  // out of memory: not known
    return 0;
  }
  if (!check->known) return 0;
  X509_STORE_CTX_set_error(store, X509_V_OK);
  return 1;
}

bool is_alert(int reason) {
  return reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256;
}

}  // namespace

Result<std::shared_ptr<TlsIdentity>> TlsIdentity::make(const identity::Identity& identity) {
  std::shared_ptr<TlsIdentity> made(new TlsIdentity);
  made->fingerprint_ = identity.fingerprint;
  asio::ssl::context& context = made->context_;
  asio::error_code error;
  context.use_certificate(asio::buffer(identity.certificate_pem), asio::ssl::context::pem, error);
  if (!error)
    context.use_private_key(asio::buffer(identity.key_pem), asio::ssl::context::pem, error);
  if (error) return fail(ErrorCode::kCorrupt, "this node's key: " + error.message());
  SSL_CTX* tls = context.native_handle();
  SSL_CTX_set_verify(tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_cert_verify_callback(tls, verify, nullptr);
  SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_max_cert_list(tls, kCertificateBytesMax);
  if (SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_num_tickets(tls, 0) != 1 || SSL_CTX_set1_sigalgs_list(tls, "ed25519") != 1) {
    ERR_clear_error();
    return fail(ErrorCode::kIo, "this system's OpenSSL does not do TLS 1.3 with Ed25519");
  }
  return made;
}

void attach(KeyCheck& check, SSL* ssl) {
  SSL_set_ex_data(ssl, check_index(), &check);
}

Error tls_error(const asio::error_code& error, const KeyCheck& check) {
  if (error == asio::error::operation_aborted)
    return Error(ErrorCode::kCancelled, "the link is being closed");
  if (!check.fingerprint.empty() && !check.known)
    return Error(ErrorCode::kRefused, "its key " + check.fingerprint + " is not known here");
  if (error == asio::error::eof || error == asio::ssl::error::stream_truncated ||
      error.category() == asio::error::get_system_category()) {
    const bool closed = error.category() != asio::error::get_system_category();
    return Error(ErrorCode::kDisconnected,
                 "the connection was lost: " + (closed ? "closed by the peer" : error.message()),
                 closed ? 0 : error.value());
  }
  const int reason = ERR_GET_REASON(static_cast<unsigned long>(error.value()));
  if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
    return Error(ErrorCode::kRefused, "it has shown no key");
  const char* words = ERR_reason_error_string(static_cast<unsigned long>(error.value()));
  const std::string said = words == nullptr ? error.message() : words;
  if (is_alert(reason))
    return Error(ErrorCode::kRefused, "the peer refuses this node's key or call (" + said + ")");
  return Error(ErrorCode::kProtocol, "bytes that are not TLS 1.3 of hotbackup (" + said + ")");
}

}  // namespace hotbackup::net
