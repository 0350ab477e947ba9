// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/cpace.h"

#include <sodium.h>

#include <algorithm>
#include <cstdio>

namespace hotbackup::cli {
namespace {

constexpr std::string_view kSuite = "CPaceRistretto255";
constexpr std::size_t kHashInputBlock = 128;  // of SHA-512
constexpr std::uint32_t kCodes = 1'000'000'000;
constexpr std::size_t kCodeDigits = 9;
static_assert(Cpace::kMessageBytes == crypto_core_ristretto255_BYTES);
static_assert(Cpace::kTagBytes == crypto_auth_hmacsha512_BYTES);

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

/// The draft's lv_cat: each with its length in front (LEB128), so that no two rows of inputs give
/// the same bytes.
std::string with_lengths(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (std::string_view part : parts) {
    std::size_t length = part.size();
    for (; length >= 128; length >>= 7) out += static_cast<char>((length & 0x7f) | 0x80);
    out += static_cast<char>(length);
    out += part;
  }
  return out;
}

std::string sha512(std::string_view text) {
  std::string hash(crypto_hash_sha512_BYTES, '\0');
  crypto_hash_sha512(bytes(hash), bytes(text), text.size());
  return hash;
}

std::string generator(const Cpace::Shared& shared) {
  const std::size_t before = with_lengths({shared.code}).size() + with_lengths({kSuite}).size() + 1;
  const std::string zeros(before < kHashInputBlock ? kHashInputBlock - before : 0, '\0');
  const std::string hash =
      sha512(with_lengths({kSuite, shared.code, zeros, shared.channel, shared.session}));
  std::string point(crypto_core_ristretto255_BYTES, '\0');
  crypto_core_ristretto255_from_hash(bytes(point), bytes(hash));
  return point;
}

}  // namespace

Result<Cpace> Cpace::begin(Side side, Shared shared) {
  if (sodium_init() < 0) return fail(ErrorCode::kIo, "libsodium cannot be used here");
  std::string scalar(crypto_core_ristretto255_SCALARBYTES, '\0');
  crypto_core_ristretto255_scalar_random(bytes(scalar));
  return begin_with(side, std::move(shared), std::move(scalar));
}

Result<Cpace> Cpace::begin_with(Side side, Shared shared, std::string scalar) {
  Cpace begun(side, std::move(shared));
  begun.scalar_ = std::move(scalar);
  begun.message_.resize(kMessageBytes);
  if (crypto_scalarmult_ristretto255(bytes(begun.message_), bytes(begun.scalar_),
                                     bytes(generator(begun.shared_))) != 0)
    return fail(ErrorCode::kIo, "no key exchange came of this code");
  return begun;
}

Result<> Cpace::receive(std::string_view message, std::string_view own_name,
                        std::string_view peer_name) {
  std::string point(kMessageBytes, '\0');
  // Fails for what encodes no element, and for the neutral one. Our own message that comes back
  // proves nothing about who sends it.
  if (message.size() != kMessageBytes || message == message_ ||
      crypto_scalarmult_ristretto255(bytes(point), bytes(scalar_), bytes(message)) != 0)
    return fail(ErrorCode::kProtocol, "a key exchange that no node of hotbackup begins");
  peer_message_ = message;
  own_name_ = own_name;
  peer_name_ = peer_name;
  const bool first = side_ == Side::kInitiator;
  const std::string transcript =
      first ? with_lengths({message_, own_name_, peer_message_, peer_name_})
            : with_lengths({peer_message_, peer_name_, message_, own_name_});
  const std::string domain = std::string(kSuite) + "_ISK";
  key_ = sha512(with_lengths({domain, shared_.session, point}) + transcript);
  sodium_memzero(point.data(), point.size());
  return {};
}

std::string Cpace::tag_over(std::string_view message, std::string_view name) const {
  const std::string mac_key = sha512("CPaceMac" + shared_.session + key_);
  const std::string said = with_lengths({message, name});
  std::string tag(kTagBytes, '\0');
  crypto_auth_hmacsha512_state state;
  crypto_auth_hmacsha512_init(&state, bytes(mac_key), mac_key.size());
  crypto_auth_hmacsha512_update(&state, bytes(said), said.size());
  crypto_auth_hmacsha512_final(&state, bytes(tag));
  return tag;
}

std::string Cpace::tag() const {
  return tag_over(message_, own_name_);
}

bool Cpace::proves(std::string_view tag) const {
  const std::string wanted = tag_over(peer_message_, peer_name_);
  return !key_.empty() && tag.size() == wanted.size() &&
         sodium_memcmp(tag.data(), wanted.data(), wanted.size()) == 0;
}

std::string make_code() {
  if (sodium_init() < 0) return {};
  const std::uint32_t number = randombytes_uniform(kCodes);
  char text[16];
  std::snprintf(text, sizeof text, "%03u-%03u-%03u", number / 1'000'000 % 1000,
                number / 1000 % 1000, number % 1000);
  return text;
}

std::string code_digits(std::string_view typed) {
  std::string digits;
  for (const char c : typed) {
    if (c >= '0' && c <= '9')
      digits += c;
    else if (c != '-' && c != ' ')
      return {};
  }
  return digits.size() == kCodeDigits ? digits : std::string();
}

}  // namespace hotbackup::cli
