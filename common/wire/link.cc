// SPDX-License-Identifier: Apache-2.0
#include "common/wire/link.h"

namespace hotbackup::wire {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;

}  // namespace

asio::awaitable<Result<Message>> Link::receive() {
  while (true) {
    auto message = reader_.next();
    if (!message) co_return fail(std::move(message).error());
    if (*message) co_return std::move(**message);
    char* room = reader_.prepare(kReadBytes);
    Result<std::size_t> size = co_await stream_.read_some(room, kReadBytes);
    if (!size) co_return fail(std::move(size).error());
    reader_.commit(*size);
  }
}

asio::awaitable<Result<>> Link::send(std::string encoded) {
  Result<> result = co_await stream_.write(encoded);
  co_return result;
}

}  // namespace hotbackup::wire
