// SPDX-License-Identifier: Apache-2.0
#include "common/identity/key.h"

#include <doctest/doctest.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>

namespace hotbackup::identity {
namespace {

std::string private_pem(const char* type, auto... arguments) {
  const Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, type, arguments...));
  REQUIRE(key != nullptr);
  return key_to_pem(key).value();
}

}  // namespace

TEST_CASE("a key survives its text form") {
  const Key key = make_key().value();
  const Key read = key_from_pem(key_to_pem(key).value()).value();
  CHECK(public_key_hash(key).value() == public_key_hash(read).value());
  CHECK(public_key_hash(key).value() != public_key_hash(make_key().value()).value());
}

TEST_CASE("a key of another kind, or behind a passphrase, is refused and nobody is asked") {
  CHECK(key_from_pem(private_pem("X25519")).error().code() == ErrorCode::kCorrupt);
  CHECK(key_from_pem(private_pem("RSA", std::size_t{2048})).error().code() == ErrorCode::kCorrupt);
  const auto locked = key_from_pem(
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
      "MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgFrfvJ0nH0/AICCAAw\n"
      "-----END ENCRYPTED PRIVATE KEY-----\n");
  REQUIRE_FALSE(locked);
  CHECK(locked.error().code() == ErrorCode::kCorrupt);
}

TEST_CASE("a certificate is self-signed, named after the node, and outlives the hardware") {
  const Key key = make_key().value();
  const std::string pem = make_certificate_pem(key, "paris").value();
  CHECK(certificate_fits(pem, key, "paris"));
  CHECK_FALSE(certificate_fits(pem, key, "lyon"));
  CHECK_FALSE(certificate_fits(pem, make_key().value(), "paris"));
  CHECK_FALSE(certificate_fits("", key, "paris"));
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509* certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  REQUIRE(certificate != nullptr);
  CHECK(X509_verify(certificate, key.get()) == 1);
  CHECK(X509_get_version(certificate) == X509_VERSION_3);
  std::time_t in_99_years = std::time(nullptr) + std::time_t{99} * 366 * 86400;
  std::time_t now = std::time(nullptr);
  CHECK(X509_cmp_time(X509_get0_notBefore(certificate), &now) < 0);
  CHECK(X509_cmp_time(X509_get0_notAfter(certificate), &in_99_years) > 0);
  X509_free(certificate);
  BIO_free(bio);
  CHECK(make_certificate_pem(key, std::string(64, 'a')));
}

}  // namespace hotbackup::identity
