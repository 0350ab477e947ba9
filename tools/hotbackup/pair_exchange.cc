// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/pair_exchange.h"

#include "common/base/bytes.h"
#include "common/net/deadline.h"

namespace hotbackup::cli {
namespace {

constexpr std::string_view kGreeting = "hotbackup pair 1";
constexpr std::size_t kTextBytesMax = 1 << 20;
constexpr char kLate[] = "the other side does not go on";
constexpr std::string_view kDials = "dials";
constexpr std::string_view kListens = "listens";

asio::awaitable<Result<>> read_exactly(net::TcpStream& stream, std::string& bytes) {
  std::size_t got = 0;
  while (got < bytes.size()) {
    auto size = co_await stream.read_some(bytes.data() + got, bytes.size() - got);
    if (!size) co_return fail(std::move(size).error());
    got += *size;
  }
  co_return Result<>();
}

asio::awaitable<Result<>> exchange_messages(net::TcpStream& stream, bool dials, Cpace& cpace) {
  std::string theirs(kGreeting.size() + Cpace::kMessageBytes, '\0');
  const std::string ours = std::string(kGreeting) + cpace.message();
  Result<> done;
  if (dials) done = co_await stream.write(ours);
  if (done) done = co_await read_exactly(stream, theirs);
  if (done && !theirs.starts_with(kGreeting))
    done = fail(ErrorCode::kProtocol, "something else than a pairing of this version");
  if (done)
    done = cpace.receive(std::string_view(theirs).substr(kGreeting.size()),
                         dials ? kDials : kListens, dials ? kListens : kDials);
  if (done && !dials) done = co_await stream.write(ours);
  co_return done;
}

asio::awaitable<Result<>> prove_each_other(net::TcpStream& stream, bool dials, const Cpace& cpace) {
  const std::string ours = cpace.tag();
  std::string theirs(Cpace::kTagBytes, '\0');
  Result<> done;
  if (dials) done = co_await stream.write(ours);
  if (done) done = co_await read_exactly(stream, theirs);
  if (!done) co_return done;
  if (!cpace.proves(theirs))
    co_return fail(ErrorCode::kRefused, "the other side does not know the code");
  if (!dials) done = co_await stream.write(ours);
  co_return done;
}

asio::awaitable<Result<>> agree_unlimited(net::TcpStream& stream,
                                          std::shared_ptr<net::TlsIdentity> key,
                                          net::TcpStream::Side side, std::string code) {
  const bool dials = side == net::TcpStream::Side::kCaller;
  const std::string own = key->fingerprint();
  // Whoever it is: the code decides.
  net::KnowsKey anybody = [](const std::string&) { return true; };
  Result<> done = co_await stream.secure(std::move(key), side, std::move(anybody));
  if (!done) co_return done;
  const std::string other = stream.peer_fingerprint();
  const std::string session = stream.channel_binding();
  if (other.empty() || session.empty() || other == own)
    co_return fail(ErrorCode::kProtocol, "the other side shows no key of its own");
  std::string channel(kGreeting);
  channel += dials ? own + other : other + own;
  Cpace::Shared shared{std::move(code), std::move(channel), session};
  auto cpace =
      Cpace::begin(dials ? Cpace::Side::kInitiator : Cpace::Side::kResponder, std::move(shared));
  if (!cpace) co_return fail(std::move(cpace).error());
  done = co_await exchange_messages(stream, dials, *cpace);
  if (done) done = co_await prove_each_other(stream, dials, *cpace);
  co_return done;
}

asio::awaitable<Result<>> receive_into(net::TcpStream& stream, std::string& text) {
  std::string length(4, '\0');
  Result<> done = co_await read_exactly(stream, length);
  if (!done) co_return done;
  const auto size = load_le<std::uint32_t>(length.data());
  if (size > kTextBytesMax) co_return fail(ErrorCode::kProtocol, "a text that is too long");
  text.resize(size);
  co_return co_await read_exactly(stream, text);
}

}  // namespace

asio::awaitable<Result<>> agree(net::TcpStream& stream, std::shared_ptr<net::TlsIdentity> key,
                                net::TcpStream::Side side, std::string code) {
  return net::within(kStepLimit, kLate,
                     agree_unlimited(stream, std::move(key), side, std::move(code)));
}

asio::awaitable<Result<>> send_text(net::TcpStream& stream, const std::string& text) {
  std::string bytes(4, '\0');
  store_le(bytes.data(), static_cast<std::uint32_t>(text.size()));
  bytes += text;
  auto writing = stream.write(bytes);
  std::string late = kLate;
  co_return co_await net::within(kStepLimit, std::move(late), std::move(writing));
}

asio::awaitable<Result<std::string>> receive_text(net::TcpStream& stream) {
  std::string text;
  auto reading = receive_into(stream, text);
  std::string late = kLate;
  Result<> done = co_await net::within(kStepLimit, std::move(late), std::move(reading));
  if (!done) co_return fail(std::move(done).error());
  co_return text;
}

asio::awaitable<void> answer_probes(net::Listener& listener, std::shared_ptr<net::TlsIdentity> key,
                                    std::string peer_fingerprint) {
  while (true) {
    std::optional<net::TcpStream> stream;
    Result<> accepted = co_await listener.accept(stream);
    if (!accepted) co_return;
    net::KnowsKey knows = [peer_fingerprint](const std::string& shown) {
      return shown == peer_fingerprint;
    };
    auto hands = stream->secure(key, net::TcpStream::Side::kCalled, std::move(knows));
    std::string late = kLate;
    (void)co_await net::within(kStepLimit, std::move(late), std::move(hands));
  }
}

}  // namespace hotbackup::cli
