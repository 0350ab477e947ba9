// SPDX-License-Identifier: Apache-2.0
#include "common/identity/key.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace hotbackup::identity {
namespace {

template <class T, void (*release)(T*)>
struct Release {
  void operator()(T* object) const { release(object); }
};
using Certificate = std::unique_ptr<X509, Release<X509, X509_free>>;
using Number = std::unique_ptr<BIGNUM, Release<BIGNUM, BN_free>>;
using Bio = std::unique_ptr<BIO, Release<BIO, BIO_free_all>>;

constexpr long kCertificateVersion3 = 2;
constexpr int kValidDays = 36525;
constexpr int kSerialBits = 127;

/// Takes OpenSSL's reason with it, and leaves its error queue empty.
tl::unexpected<Error> fail_crypto(ErrorCode code, std::string text) {
  if (const unsigned long error = ERR_get_error(); error != 0) {
    const char* reason = ERR_reason_error_string(error);
    if (reason != nullptr) text += std::string(": ") + reason;
  }
  ERR_clear_error();
  return fail(code, std::move(text));
}

Bio reading(std::string_view text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string contents(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

/// A key file has no passphrase: without this, libcrypto would ask for one on the terminal.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

bool set_random_serial(X509* certificate) {
  const Number serial(BN_new());
  return serial != nullptr &&
         BN_rand(serial.get(), kSerialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool fill_certificate(X509* certificate, EVP_PKEY* key, std::string_view name) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  return X509_set_version(certificate, kCertificateVersion3) == 1 &&
         set_random_serial(certificate) &&
         // From yesterday on: the peer's clock may be behind.
         X509_time_adj_ex(X509_getm_notBefore(certificate), -1, 0, nullptr) != nullptr &&
         X509_time_adj_ex(X509_getm_notAfter(certificate), kValidDays, 0, nullptr) != nullptr &&
         X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(name.data()),
                                    static_cast<int>(name.size()), -1, 0) == 1 &&
         X509_set_issuer_name(certificate, subject) == 1 &&
         X509_set_pubkey(certificate, key) == 1 &&
         // Ed25519 brings its own digest.
         X509_sign(certificate, key, nullptr) != 0;
}

}  // namespace

Result<Key> make_key() {
  Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  if (key == nullptr) return fail_crypto(ErrorCode::kIo, "making an Ed25519 key");
  return key;
}

Result<std::string> key_to_pem(const Key& key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0,
                                                      nullptr, nullptr) != 1) {
    return fail_crypto(ErrorCode::kIo, "writing a key as PEM");
  }
  return contents(bio);
}

Result<Key> key_from_pem(std::string_view pem) {
  const Bio bio = reading(pem);
  Key key(bio == nullptr ? nullptr
                         : PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (key == nullptr) return fail_crypto(ErrorCode::kCorrupt, "no private key in it");
  if (EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519) {
    return fail(ErrorCode::kCorrupt, "its key is not an Ed25519 key");
  }
  return key;
}

Result<KeyHash> public_key_hash(const Key& key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key.get(), &der);
  if (size <= 0) return fail_crypto(ErrorCode::kIo, "writing a public key");
  KeyHash hash;
  static_assert(sizeof hash == SHA256_DIGEST_LENGTH);
  SHA256(der, static_cast<std::size_t>(size), reinterpret_cast<unsigned char*>(hash.data()));
  OPENSSL_free(der);
  return hash;
}

Result<std::string> make_certificate_pem(const Key& key, std::string_view name) {
  const Certificate certificate(X509_new());
  const Bio bio(BIO_new(BIO_s_mem()));
  if (certificate == nullptr || bio == nullptr ||
      !fill_certificate(certificate.get(), key.get(), name) ||
      PEM_write_bio_X509(bio.get(), certificate.get()) != 1) {
    return fail_crypto(ErrorCode::kIo, "making a certificate");
  }
  return contents(bio);
}

bool certificate_fits(std::string_view pem, const Key& key, std::string_view name) {
  const Bio bio = reading(pem);
  const Certificate certificate(
      bio == nullptr ? nullptr : PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr));
  char common_name[256];
  const bool fits =
      certificate != nullptr && X509_check_private_key(certificate.get(), key.get()) == 1 &&
      X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName,
                                common_name, sizeof common_name) >= 0 &&
      name == common_name;
  ERR_clear_error();
  return fits;
}

}  // namespace hotbackup::identity
