// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/this_coro.hpp>
#include <thread>

#include "common/net/connector.h"
#include "common/net/deadline.h"
#include "common/net/listener.h"
#include "common/net/task_group.h"
#include "common/net/worker.h"

using namespace hotbackup;
using namespace hotbackup::net;
using namespace std::chrono_literals;

namespace {

/// Runs a coroutine on a fresh io_context until nothing is left to do.
void run(std::function<asio::awaitable<void>(asio::io_context&)> body) {
  asio::io_context io(1);
  TaskGroup root(io.get_executor());
  root.spawn(body(io));
  io.run_for(20s);
  REQUIRE(root.empty());
}

asio::awaitable<void> wait_for_ever(asio::any_io_executor executor, int& ended) {
  struct AtEnd {
    int& count;
    ~AtEnd() { ++count; }
  } at_end{ended};
  Signal never(executor);
  while (true) {
    co_await never.wait();
    co_await never.wait();
  }
}

asio::awaitable<void> notify_after(Signal& signal, std::chrono::milliseconds pause) {
  Signal never(co_await asio::this_coro::executor);
  co_await never.wait_for(pause);
  signal.notify();
}

}  // namespace

TEST_CASE("a task group cancels its tasks and waits for their end") {
  run([](asio::io_context& io) -> asio::awaitable<void> {
    int ended = 0;
    TaskGroup tasks(io.get_executor());
    for (int i = 0; i < 5; ++i) tasks.spawn(wait_for_ever(io.get_executor(), ended));
    Signal never(io.get_executor());
    co_await never.wait_for(5ms);
    CHECK(ended == 0);
    tasks.cancel();
    const auto joined = co_await tasks.join();
    CHECK(joined);
    CHECK(ended == 5);
  });
}

namespace {

asio::awaitable<void> own_tasks(asio::any_io_executor executor, int& ended, bool& cancelled) {
  TaskGroup tasks(executor);
  tasks.spawn(wait_for_ever(executor, ended));
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto joined = co_await tasks.join();
  cancelled = !joined && joined.error().code() == ErrorCode::kCancelled;
  // What is awaited for cleaning up still works.
  Signal never(executor);
  co_await never.wait_for(1ms);
  ++ended;
}

asio::awaitable<void> fail_at_once() {
  throw std::runtime_error("planted");
  co_return;
}

}  // namespace

TEST_CASE("cancelling who joins cancels the tasks and still waits for them") {
  run([](asio::io_context& io) -> asio::awaitable<void> {
    int ended = 0;
    bool cancelled = false;
    TaskGroup outer(io.get_executor());
    outer.spawn(own_tasks(io.get_executor(), ended, cancelled));
    Signal never(io.get_executor());
    co_await never.wait_for(5ms);
    outer.cancel();
    const auto joined = co_await outer.join();
    CHECK(joined);
    CHECK(cancelled);
    CHECK(ended == 2);
  });
}

TEST_CASE("in a group that ends together the first end cancels the others, and is reported") {
  run([](asio::io_context& io) -> asio::awaitable<void> {
    int ended = 0;
    TaskGroup tasks(io.get_executor(), TaskGroup::End::kAllTogether);
    tasks.spawn(wait_for_ever(io.get_executor(), ended));
    tasks.spawn(fail_at_once());
    const auto joined = co_await tasks.join();
    REQUIRE_FALSE(joined);
    CHECK(joined.error().text() == "planted");
    CHECK(ended == 1);
  });
}

TEST_CASE("a signal raised before the wait is not lost") {
  run([](asio::io_context& io) -> asio::awaitable<void> {
    Signal signal(io.get_executor());
    signal.notify();
    co_await signal.wait();
    TaskGroup tasks(io.get_executor());
    tasks.spawn(notify_after(signal, 2ms));
    co_await signal.wait();
    (void)co_await tasks.join();
  });
}

TEST_CASE("a worker runs jobs on its own thread and gives back what they return") {
  run([](asio::io_context&) -> asio::awaitable<void> {
    Worker worker("test");
    const auto here = std::this_thread::get_id();
    auto job = [] { return std::this_thread::get_id(); };
    const auto there = co_await worker.run(job);
    CHECK(there != here);
    CHECK(std::this_thread::get_id() == here);
    auto failing = []() -> Result<int> { return fail(ErrorCode::kIo, "no"); };
    const auto failed = co_await worker.run(failing);
    CHECK_FALSE(failed);
  });
}

namespace {

asio::awaitable<void> use_worker(Worker& worker, bool& job_done, bool& frame_gone) {
  struct AtEnd {
    bool& gone;
    ~AtEnd() { gone = true; }
  } at_end{frame_gone};
  auto job = [&job_done, &frame_gone] {
    std::this_thread::sleep_for(50ms);  // the work, not a wait for somebody
    CHECK_FALSE(frame_gone);
    job_done = true;
    return true;
  };
  co_await worker.run(job);
  Signal never(co_await asio::this_coro::executor);
  co_await never.wait();
}

}  // namespace

TEST_CASE("a cancelled caller waits for the job that uses what it owns") {
  run([](asio::io_context& io) -> asio::awaitable<void> {
    Worker worker("test");
    bool job_done = false;
    bool frame_gone = false;
    TaskGroup tasks(io.get_executor());
    tasks.spawn(use_worker(worker, job_done, frame_gone));
    Signal never(io.get_executor());
    co_await never.wait_for(5ms);
    tasks.cancel();
    (void)co_await tasks.join();
    CHECK(job_done);
    CHECK(frame_gone);
  });
}

namespace {

asio::awaitable<Result<>> sleep_long() {
  Signal never(co_await asio::this_coro::executor);
  co_await never.wait_for(1h);
  co_return Result<>();
}

asio::awaitable<Result<>> answer_at_once() {
  co_return fail(ErrorCode::kBusy, "busy");
}

}  // namespace

TEST_CASE("a deadline ends work that takes too long and passes on what was in time") {
  run([](asio::io_context&) -> asio::awaitable<void> {
    const auto late = co_await within(10ms, "too late", sleep_long());
    REQUIRE_FALSE(late);
    CHECK(late.error().code() == ErrorCode::kTimeout);
    CHECK(late.error().text() == "too late");
    const auto answer = co_await within(1h, "too late", answer_at_once());
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code() == ErrorCode::kBusy);
  });
}

namespace {

asio::awaitable<void> echo(Listener& listener) {
  std::optional<TcpStream> stream;
  const auto accepted = co_await listener.accept(stream);
  CHECK(accepted);
  char buffer[100];
  const auto size = co_await stream->read_some(buffer, sizeof buffer);
  REQUIRE(size);
  const auto written = co_await stream->write({buffer, *size});
  CHECK(written);
}

}  // namespace

TEST_CASE("bytes go both ways over loopback, and a closed peer is a disconnection") {
  run([](asio::io_context& io) -> asio::awaitable<void> {
    auto listener = Listener::open(io.get_executor(), "127.0.0.1", 0);
    REQUIRE(listener);
    TaskGroup tasks(io.get_executor());
    tasks.spawn(echo(*listener));
    std::optional<TcpStream> stream;
    const auto connected = co_await connect("127.0.0.1", listener->port(), 5s, stream);
    REQUIRE(connected);
    CHECK(stream->peer_address() == "127.0.0.1:" + std::to_string(listener->port()));
    const auto written = co_await stream->write("hello");
    CHECK(written);
    char buffer[100];
    const auto size = co_await stream->read_some(buffer, sizeof buffer);
    REQUIRE(size);
    CHECK(std::string_view(buffer, *size) == "hello");
    const auto end = co_await stream->read_some(buffer, sizeof buffer);
    REQUIRE_FALSE(end);
    CHECK(end.error().code() == ErrorCode::kDisconnected);
    (void)co_await tasks.join();
  });
}

TEST_CASE("a port in use is named as such, with the port") {
  asio::io_context io(1);
  auto first = Listener::open(io.get_executor(), "127.0.0.1", 0);
  REQUIRE(first);
  const auto second = Listener::open(io.get_executor(), "127.0.0.1", first->port());
  REQUIRE_FALSE(second);
  CHECK(second.error().text() == "cannot listen on 127.0.0.1:" + std::to_string(first->port()) +
                                     ": the port is in use by another program");
}

TEST_CASE("nobody listening is a disconnection that names the address") {
  run([](asio::io_context& io) -> asio::awaitable<void> {
    std::uint16_t port = 0;
    {
      auto listener = Listener::open(io.get_executor(), "127.0.0.1", 0);
      REQUIRE(listener);
      port = listener->port();
    }
    std::optional<TcpStream> stream;
    const auto connected = co_await connect("127.0.0.1", port, 5s, stream);
    REQUIRE_FALSE(connected);
    CHECK(connected.error().code() == ErrorCode::kDisconnected);
    CHECK(connected.error().text().find("127.0.0.1:" + std::to_string(port)) != std::string::npos);
  });
}

TEST_CASE("pauses between calls grow to ten seconds, are never in step, and begin anew") {
  Backoff backoff(1);
  std::chrono::milliseconds longest = Backoff::kFirst;
  for (int i = 0; i < 20; ++i) {
    const auto pause = backoff.next();
    CHECK(pause >= longest / 2);
    CHECK(pause <= longest);
    longest = std::min(longest * 2, Backoff::kLongest);
  }
  backoff.reset();
  CHECK(backoff.next() <= Backoff::kFirst);
  Backoff other(2);
  int different = 0;
  backoff.reset();
  for (int i = 0; i < 10; ++i) different += backoff.next() != other.next() ? 1 : 0;
  CHECK(different > 5);
}
