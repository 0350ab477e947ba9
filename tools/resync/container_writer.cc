// SPDX-License-Identifier: Apache-2.0
#include <zstd.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "common/base/bytes.h"
#include "tools/resync/container_bytes.h"

namespace hotbackup::resync {
namespace {

/// The fastest that still halves usual data: a save should not be slower than the disk.
constexpr int kLevel = 1;
constexpr std::size_t kQueuedMax = 4;

}  // namespace

struct ContainerWriter::Pipe {
  explicit Pipe(Sink& to) : sink(to) {}
  struct Free {
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  };

  Sink& sink;
  std::unique_ptr<ZSTD_CCtx, Free> context{ZSTD_createCCtx()};
  std::string packed;  // the thread's only
  std::atomic<std::uint64_t> bytes{0};

  std::mutex mutex;  // guards the rest
  std::condition_variable changed;
  std::deque<Block> queue;
  bool busy = false;
  bool stopping = false;
  std::optional<Error> failed;

  std::thread thread;
};

ContainerWriter::ContainerWriter() = default;

ContainerWriter::~ContainerWriter() {
  if (!pipe_->thread.joinable()) return;
  {
    const std::lock_guard lock(pipe_->mutex);
    pipe_->stopping = true;
  }
  pipe_->changed.notify_all();
  pipe_->thread.join();
}

std::uint64_t ContainerWriter::bytes() const {
  return pipe_->bytes.load();
}

Result<std::unique_ptr<ContainerWriter>> ContainerWriter::begin(Sink& sink, ContainerKind kind,
                                                                const Json& head) {
  std::unique_ptr<ContainerWriter> writer(new ContainerWriter);
  writer->pipe_ = std::make_unique<Pipe>(sink);
  const std::string bytes = encode_head(kind, head);
  HOTBACKUP_TRY(sink.write(bytes));
  writer->pipe_->bytes.store(bytes.size());
  writer->chain_ = hash128(bytes);
  writer->pipe_->thread = std::thread([self = writer.get()] { self->run(); });
  return writer;
}

void ContainerWriter::run() {
  Pipe& pipe = *pipe_;
  std::unique_lock lock(pipe.mutex);
  for (;;) {
    pipe.changed.wait(lock, [&] { return pipe.stopping || !pipe.queue.empty(); });
    if (pipe.stopping) return;
    const Block block = std::move(pipe.queue.front());
    pipe.queue.pop_front();
    pipe.busy = true;
    lock.unlock();
    auto written = write_block(block.kind, block.raw);
    lock.lock();
    pipe.busy = false;
    if (!written && !pipe.failed) pipe.failed = std::move(written).error();
    if (pipe.failed) pipe.queue.clear();
    pipe.changed.notify_all();
  }
}

Result<> ContainerWriter::write_block(BlockKind kind, std::string_view raw) {
  Pipe& pipe = *pipe_;
  BlockHeader header;
  header.kind = kind;
  header.raw_bytes = static_cast<std::uint32_t>(raw.size());
  header.number = ++number_;
  header.chain = chain_;
  header.offset = pipe.bytes.load();
  pipe.packed.resize(ZSTD_compressBound(raw.size()));
  const std::size_t packed = ZSTD_compressCCtx(pipe.context.get(), pipe.packed.data(),
                                               pipe.packed.size(), raw.data(), raw.size(), kLevel);
  std::string_view stored = raw;
  if (ZSTD_isError(packed) == 0 && packed < raw.size()) {
    stored = std::string_view(pipe.packed).substr(0, packed);
    header.compressed = true;
  }
  header.stored_bytes = static_cast<std::uint32_t>(stored.size());
  header.stored_hash = hash64(stored);
  const std::string bytes = encode_block(header);
  chain_ = hash128(bytes);
  HOTBACKUP_TRY(pipe.sink.write(bytes));
  HOTBACKUP_TRY(pipe.sink.write(stored));
  pipe.bytes.fetch_add(bytes.size() + stored.size());
  return {};
}

Result<> ContainerWriter::add(BlockKind kind, std::string raw) {
  Pipe& pipe = *pipe_;
  std::unique_lock lock(pipe.mutex);
  pipe.changed.wait(lock, [&] { return pipe.failed || pipe.queue.size() < kQueuedMax; });
  if (pipe.failed) return fail(*pipe.failed);
  pipe.queue.push_back({kind, std::move(raw)});
  pipe.changed.notify_all();
  return {};
}

Result<> ContainerWriter::end(const Json& end) {
  Pipe& pipe = *pipe_;
  const auto drained = [&]() -> Result<> {
    std::unique_lock lock(pipe.mutex);
    pipe.changed.wait(lock, [&] { return pipe.failed || (pipe.queue.empty() && !pipe.busy); });
    if (pipe.failed) return fail(*pipe.failed);
    return {};
  };
  HOTBACKUP_TRY(drained());
  const std::uint64_t last = pipe.bytes.load();
  HOTBACKUP_TRY(write_block(BlockKind::kEnd, end.dump()));
  const std::uint64_t bytes = pipe.bytes.load() + kTrailerBytes;
  HOTBACKUP_TRY(pipe.sink.write(encode_trailer(last, bytes, chain_)));
  pipe.bytes.store(bytes);
  return {};
}

}  // namespace hotbackup::resync
