// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <asio/io_context.hpp>
#include <functional>

#include "common/identity/key.h"
#include "common/net/connector.h"
#include "common/net/deadline.h"
#include "common/net/listener.h"
#include "common/net/task_group.h"

using namespace hotbackup;
using namespace hotbackup::net;
using namespace std::chrono_literals;

namespace {

void run(std::function<asio::awaitable<void>(asio::io_context&)> body) {
  asio::io_context io(1);
  TaskGroup root(io.get_executor());
  root.spawn(body(io));
  io.run_for(20s);
  REQUIRE(root.empty());
}

std::shared_ptr<TlsIdentity> make_identity() {
  const auto key = identity::make_key().value();
  identity::Identity made;
  made.key_pem = identity::key_to_pem(key).value();
  made.certificate_pem = identity::make_certificate_pem(key, "hotbackup").value();
  return TlsIdentity::make(made).value();
}

KnowsKey everybody() {
  return [](const std::string&) { return true; };
}
KnowsKey nobody() {
  return [](const std::string&) { return false; };
}

struct End {
  std::shared_ptr<TlsIdentity> key = make_identity();
  KnowsKey knows = everybody();
  std::optional<TcpStream> stream;
  Result<> shaken = fail(ErrorCode::kNotFound, "not yet");
};

asio::awaitable<void> answer(Listener& listener, End& end) {
  (void)co_await listener.accept(end.stream);
  end.shaken = co_await end.stream->secure(end.key, TcpStream::Side::kCalled, end.knows);
}

/// Both ends' handshakes.
asio::awaitable<void> shake(asio::io_context& io, End& caller, End& called) {
  auto listener = Listener::open(io.get_executor(), "127.0.0.1", 0);
  REQUIRE(listener);
  TaskGroup tasks(io.get_executor());
  tasks.spawn(answer(*listener, called));
  const auto connected = co_await connect("127.0.0.1", listener->port(), 5s, caller.stream);
  REQUIRE(connected);
  caller.shaken =
      co_await caller.stream->secure(caller.key, TcpStream::Side::kCaller, caller.knows);
  (void)co_await tasks.join();
}

}  // namespace

TEST_CASE("under TLS both ends know each other's key, and bytes of any size go both ways") {
  run([](asio::io_context& io) -> asio::awaitable<void> {
    End caller, called;
    co_await shake(io, caller, called);
    REQUIRE(caller.shaken);
    REQUIRE(called.shaken);
    CHECK(caller.stream->peer_fingerprint().starts_with("SHA256:"));
    CHECK(caller.stream->peer_fingerprint() != called.stream->peer_fingerprint());
    CHECK(caller.stream->channel_binding().size() == 32);
    CHECK(caller.stream->channel_binding() == called.stream->channel_binding());
    const std::string large(1'000'000, 'x');
    TaskGroup tasks(io.get_executor());
    auto write = [](TcpStream& stream, const std::string& bytes) -> asio::awaitable<void> {
      const auto written = co_await stream.write(bytes);
      CHECK(written);
    };
    tasks.spawn(write(*caller.stream, large));
    tasks.spawn(write(*called.stream, "short"));
    std::string buffer(100'000, '\0');
    std::size_t received = 0;
    while (received < large.size()) {
      const auto size = co_await called.stream->read_some(buffer.data(), buffer.size());
      REQUIRE(size);
      received += *size;
    }
    CHECK(received == large.size());
    const auto size = co_await caller.stream->read_some(buffer.data(), buffer.size());
    REQUIRE(size);
    CHECK(buffer.substr(0, *size) == "short");
    (void)co_await tasks.join();
  });
}

TEST_CASE("a caller whose key is not known is refused, named, and hears of it") {
  run([](asio::io_context& io) -> asio::awaitable<void> {
    End caller, called;
    called.knows = nobody();
    co_await shake(io, caller, called);
    REQUIRE_FALSE(called.shaken);
    CHECK(called.shaken.error().code() == ErrorCode::kRefused);
    CHECK(called.shaken.error().text().starts_with("its key SHA256:"));
    CHECK(called.stream->peer_fingerprint().empty());
    char byte;
    const auto answer = co_await caller.stream->read_some(&byte, 1);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code() == ErrorCode::kRefused);
    CHECK(answer.error().text().find("refuses this node's key") != std::string::npos);
  });
}

TEST_CASE("a node that answers with another key is refused before anything is said to it") {
  run([](asio::io_context& io) -> asio::awaitable<void> {
    End caller, called;
    caller.knows = nobody();
    co_await shake(io, caller, called);
    REQUIRE_FALSE(caller.shaken);
    CHECK(caller.shaken.error().code() == ErrorCode::kRefused);
    CHECK_FALSE(called.shaken);
  });
}

TEST_CASE("bytes that are no TLS are a protocol error, and a caller that is silent is given up") {
  run([](asio::io_context& io) -> asio::awaitable<void> {
    auto listener = Listener::open(io.get_executor(), "127.0.0.1", 0);
    REQUIRE(listener);
    End called;
    TaskGroup tasks(io.get_executor());
    tasks.spawn(answer(*listener, called));
    std::optional<TcpStream> plain;
    auto connected = co_await connect("127.0.0.1", listener->port(), 5s, plain);
    REQUIRE(connected);
    (void)co_await plain->write("GET / HTTP/1.0\r\n\r\n");
    (void)co_await tasks.join();
    REQUIRE_FALSE(called.shaken);
    CHECK(called.shaken.error().code() == ErrorCode::kProtocol);

    std::optional<TcpStream> silent, held;
    connected = co_await connect("127.0.0.1", listener->port(), 5s, silent);
    REQUIRE(connected);
    (void)co_await listener->accept(held);
    auto hands = held->secure(make_identity(), TcpStream::Side::kCalled, everybody());
    const auto late = co_await within(20ms, "too late", std::move(hands));
    REQUIRE_FALSE(late);
    CHECK(late.error().code() == ErrorCode::kTimeout);
  });
}

TEST_CASE("a listener that takes both tells TLS from plain by the first bytes and loses none") {
  run([](asio::io_context& io) -> asio::awaitable<void> {
    auto listener = Listener::open(io.get_executor(), "127.0.0.1", 0);
    REQUIRE(listener);
    // The length of a plain greeting that begins like TLS, if not for its third byte.
    const std::string greeting("\x16\x03\x00\x00...", 7);
    std::optional<TcpStream> plain, taken;
    auto connected = co_await connect("127.0.0.1", listener->port(), 5s, plain);
    REQUIRE(connected);
    (void)co_await listener->accept(taken);
    (void)co_await plain->write(greeting);
    auto tls = co_await taken->begins_with_tls();
    REQUIRE(tls);
    CHECK_FALSE(*tls);
    std::string received;
    while (received.size() < greeting.size()) {
      char buffer[100];
      const auto size = co_await taken->read_some(buffer, sizeof buffer);
      REQUIRE(size);
      received.append(buffer, *size);
    }
    CHECK(received == greeting);

    End caller, called;
    connected = co_await connect("127.0.0.1", listener->port(), 5s, caller.stream);
    REQUIRE(connected);
    (void)co_await listener->accept(called.stream);
    auto call = [](End& end) -> asio::awaitable<void> {
      end.shaken = co_await end.stream->secure(end.key, TcpStream::Side::kCaller, end.knows);
    };
    TaskGroup tasks(io.get_executor());
    tasks.spawn(call(caller));
    tls = co_await called.stream->begins_with_tls();
    REQUIRE(tls);
    CHECK(*tls);
    called.shaken =
        co_await called.stream->secure(called.key, TcpStream::Side::kCalled, called.knows);
    (void)co_await tasks.join();
    CHECK(called.shaken);
    CHECK(caller.shaken);
  });
}
