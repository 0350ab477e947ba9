// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/save_reader.h"

#include "tools/resync/save.h"
#include "tools/resync/streams.h"

namespace hotbackup::resync {
namespace {

constexpr std::size_t kQueuedMax = 4;

}  // namespace

Result<std::unique_ptr<SaveCheck>> SaveCheck::begin(const Json& head) {
  HOTBACKUP_ASSIGN(const auto group, GroupId::from_hex(head.value("group_id", "")));
  return std::unique_ptr<SaveCheck>(new SaveCheck(group));
}

Result<> SaveCheck::block(const Block& block) {
  if (block.kind != BlockKind::kFrames) return {};
  return each_frame(block.raw, [this](const journal::FrameView& view) { return frame(view); });
}

Result<> SaveCheck::frame(const journal::FrameView& frame) {
  HOTBACKUP_TRY(sequence_.accept(frame));
  ++frames_;
  const EnvironmentNumber environment = frame.header.environment;
  if (frame.header.kind == journal::FrameKind::kEnvironment) {
    HOTBACKUP_ASSIGN(auto body, update::read_environment(frame.body));
    digests_[body.number];
    environments_.push_back(std::move(body));
    return {};
  }
  if (frame.header.kind != journal::FrameKind::kUpdate || !digests_.contains(environment))
    return fail(ErrorCode::kCorrupt, "a frame that no save holds");
  return update::read_body(
      frame.body, [&](const update::Operation& one) { return operation(environment, one); });
}

Result<> SaveCheck::operation(EnvironmentNumber environment, const update::Operation& operation) {
  lmdb::ContentDigest& digest = digests_[environment];
  const auto* database = digest.empty() ? nullptr : &digest.back();
  const bool same = database != nullptr && database->main == operation.database.main &&
                    database->name == operation.database.name;
  using Kind = update::OperationKind;
  if (operation.kind == Kind::kCreate) {
    digest.push_back({operation.database.main,
                      std::string(operation.database.name),
                      operation.database.flags,
                      0,
                      {}});
    return {};
  }
  if (!same) return fail(ErrorCode::kCorrupt, "an item outside its database");
  if (operation.kind == Kind::kPut && large_left_ == 0) {
    digest_.add(digest.back(), operation.key, operation.value);
    ++items_;
    return {};
  }
  if (operation.kind == Kind::kPutLarge && large_left_ == 0) {
    large_key_ = operation.key;
    large_value_.clear();
    large_left_ = operation.value_bytes;
    return {};
  }
  if (operation.kind != Kind::kValuePart || operation.value.size() > large_left_)
    return fail(ErrorCode::kCorrupt, "an operation that no save holds");
  large_value_ += operation.value;
  large_left_ -= operation.value.size();
  if (large_left_ != 0) return {};
  digest_.add(digest.back(), large_key_, large_value_);
  large_value_ = {};
  ++items_;
  return {};
}

Result<> SaveCheck::end(const Json& end) const {
  std::vector<std::string> names;
  std::vector<lmdb::ContentDigest> digests;
  Json environments = Json::array();
  for (const auto& body : environments_) {
    names.push_back(body.name);
    digests.push_back(digests_.at(body.number));
    environments.push_back(
        Json{{"number", body.number.value}, {"databases", describe(digests.back())}});
  }
  if (large_left_ != 0 || end.value("items", ~std::uint64_t{0}) != items_ ||
      end.value("frames", ~std::uint64_t{0}) != frames_ ||
      end.value("content_hash", "") != content_hash(names, digests) ||
      end.value("environments", Json()) != environments)
    return fail(ErrorCode::kCorrupt, "its items are not those that its end names");
  return {};
}

Result<std::unique_ptr<SaveReader>> SaveReader::open(const std::string& path,
                                                     const std::string& filter) {
  std::unique_ptr<SaveReader> save(new SaveReader);
  HOTBACKUP_ASSIGN(auto source, open_source(path, filter));
  HOTBACKUP_ASSIGN(save->reader_, ContainerReader::open(std::move(source), path));
  if (save->reader_->head().kind != ContainerKind::kSave)
    return fail(ErrorCode::kCorrupt, path + " is a volume, no save");
  HOTBACKUP_ASSIGN(save->check_, SaveCheck::begin(save->head()));
  save->thread_ = std::thread([self = save.get()] { self->run(); });
  return save;
}

SaveReader::~SaveReader() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Result<std::optional<Block>> SaveReader::read() {
  HOTBACKUP_ASSIGN(auto block, reader_->next());
  if (!block) return std::nullopt;
  const auto checked =
      block->kind == BlockKind::kEnd ? check_->end(reader_->end()) : check_->block(*block);
  if (checked) return block;
  return fail(
      Error(checked.error())
          .with_context(reader_->name() + " before byte " + std::to_string(reader_->offset())));
}

void SaveReader::run() {
  for (bool more = true; more;) {
    auto block = read();
    more = block && *block;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopping_ || queue_.size() < kQueuedMax; });
    if (stopping_) return;
    queue_.push_back(std::move(block));
    changed_.notify_all();
  }
}

Result<std::optional<Block>> SaveReader::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !queue_.empty(); });
  auto block = std::move(queue_.front());
  // The last one, or an error, stays: whoever asks again gets it again.
  if (block && *block)
    queue_.pop_front();
  else
    queue_.front() = block ? Result<std::optional<Block>>(std::nullopt)
                           : Result<std::optional<Block>>(fail(block.error()));
  changed_.notify_all();
  return block;
}

}  // namespace hotbackup::resync
