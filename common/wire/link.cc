// SPDX-License-Identifier: Apache-2.0
#include "common/wire/link.h"

#include <spdlog/spdlog.h>

namespace hotbackup::wire {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;

/// hotbackup trace: each message with its kind and size, never what is in it.
bool traced() {
  return spdlog::should_log(spdlog::level::debug);
}

}  // namespace

asio::awaitable<Result<Message>> Link::receive() {
  while (true) {
    auto message = reader_.next();
    if (!message) co_return fail(std::move(message).error());
    if (*message) {
      if (traced()) spdlog::debug("{} > {}", stream_.peer_address(), message_name(**message));
      co_return std::move(**message);
    }
    char* room = reader_.prepare(kReadBytes);
    Result<std::size_t> size = co_await stream_.read_some(room, kReadBytes);
    if (!size) co_return fail(std::move(size).error());
    reader_.commit(*size);
  }
}

asio::awaitable<Result<>> Link::send(std::string encoded) {
  if (traced())
    if (const auto message = decode(std::string_view(encoded).substr(kPrefixBytes)))
      spdlog::debug("{} < {}, {} bytes", stream_.peer_address(), message_name(*message),
                    encoded.size());
  Result<> result = co_await stream_.write(encoded);
  co_return result;
}

}  // namespace hotbackup::wire
