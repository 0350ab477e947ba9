// SPDX-License-Identifier: Apache-2.0
#include "common/service/supervisor.h"

#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include <asio/experimental/as_tuple.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <csignal>

#include "common/service/problems.h"

namespace hotbackup::service {
namespace {

constexpr auto kNoThrow = asio::experimental::as_tuple(asio::use_awaitable);

}  // namespace

Supervisor::Supervisor(const Program& program, std::string configuration_path, Node node)
    : program_(program),
      configuration_path_(std::move(configuration_path)),
      node_(std::move(node)),
      signals_(io_, SIGTERM, SIGINT, SIGHUP),
      tasks_(io_.get_executor()),
      changed_(io_.get_executor()) {}

int Supervisor::run() {
  net::TaskGroup root(io_.get_executor());
  root.spawn(main());
  // Returns by itself when nothing is left to do: the proof that everything was joined.
  io_.run();
  return exit_code_;
}

std::unique_ptr<Server> Supervisor::open(const Node& node) {
  auto server = program_.make(io_, node);
  auto opened = server->open();
  if (opened) return server;
  spdlog::error("{}", coded(opened.error()));
  return nullptr;
}

asio::awaitable<void> Supervisor::serve(Server& server) {
  co_await server.run();
  server_ended_ = true;
  changed_.notify();
}

asio::awaitable<void> Supervisor::main() {
  auto server = open(node_);
  if (server == nullptr) {
    exit_code_ = 1;
    signals_.cancel();
    co_return;
  }
  tasks_.spawn(watch_signals());
  std::uint64_t watchdog_us = 0;
  if (::sd_watchdog_enabled(0, &watchdog_us) > 0)
    tasks_.spawn(feed_watchdog(std::chrono::microseconds(watchdog_us / 2)));
  net::TaskGroup serving(io_.get_executor());
  serving.spawn(serve(*server));
  watch_.emplace(node_.configuration);
  ::sd_notify(0, "READY=1");

  while (!stop_ && !server_ended_) {
    co_await changed_.wait();
    if (stop_ || server_ended_ || !reload_wanted_) continue;
    reload_wanted_ = false;
    ::sd_notify(0, "RELOADING=1");
    if (reload()) {
      serving.cancel();
      (void)co_await serving.join();
      server_ended_ = false;
      server.reset();  // gives back the port and the locks that the next one takes
      server = open(node_);
      if (server == nullptr) {
        exit_code_ = 1;
        break;
      }
      serving.spawn(serve(*server));
      watch_.reset();
      watch_.emplace(node_.configuration);
    }
    ::sd_notify(0, "READY=1");
  }

  ::sd_notify(0, "STOPPING=1");
  watch_.reset();
  serving.cancel();
  const auto ended = co_await serving.join();
  if (!ended) {
    spdlog::error("{} failed: {}", program_.name, coded(ended.error()));
    exit_code_ = 1;
  }
  tasks_.cancel();
  (void)co_await tasks_.join();
}

// On an error the server goes on as it was.
bool Supervisor::reload() {
  auto configuration = config::load(configuration_path_);
  if (!configuration) {
    spdlog::error("the configuration was not reloaded: {}", coded(configuration.error()));
    return false;
  }
  for (const std::string& warning : configuration->warnings) spdlog::warn("{}", warning);
  auto node = make_node(std::move(*configuration));
  if (!node) {
    spdlog::error("the configuration was not reloaded: {}", coded(node.error()));
    return false;
  }
  if (node->key->fingerprint() != node_.key->fingerprint())
    spdlog::info("this node's key is {} now", node->key->fingerprint());
  node_ = std::move(*node);
  spdlog::info("reloaded {}", configuration_path_);
  return true;
}

asio::awaitable<void> Supervisor::watch_signals() {
  while (!stop_) {
    auto [error, number] = co_await signals_.async_wait(kNoThrow);
    if (error) co_return;
    if (number == SIGHUP) {
      reload_wanted_ = true;
    } else {
      spdlog::info("stopping on signal {}", number);
      stop_ = true;
    }
    changed_.notify();
  }
}

asio::awaitable<void> Supervisor::feed_watchdog(std::chrono::microseconds period) {
  asio::steady_timer timer(io_);
  while (true) {
    ::sd_notify(0, "WATCHDOG=1");
    timer.expires_after(period);
    auto [error] = co_await timer.async_wait(kNoThrow);
    if (error) co_return;
  }
}

}  // namespace hotbackup::service
