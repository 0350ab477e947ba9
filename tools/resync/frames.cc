// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/frames.h"

#include "common/base/bytes.h"

namespace hotbackup::resync {

void SaveFrames::add(std::string& to, journal::FrameKind kind, EnvironmentNumber environment,
                     std::string_view body) {
  journal::FrameHeader header;
  header.group = group_;
  header.epoch = epoch_;
  header.kind = kind;
  header.environment = environment;
  header.number = UpdateNumber(++number_);
  header.body_bytes = static_cast<std::uint32_t>(body.size());
  header.update_bytes = journal::frame_bytes(body.size());
  header.body_hash = hash64(body);
  header.chain = chain_;
  const std::size_t at = to.size();
  to.resize(at + journal::kFrameHeaderBytes);
  journal::encode(header, to.data() + at);
  chain_ = journal::chain_after(std::string_view(to).substr(at, journal::kFrameHeaderBytes));
  to.append(body);
  to.resize(at + journal::frame_bytes(body.size()));
}

Result<> each_frame(std::string_view raw,
                    const std::function<Result<>(const journal::FrameView&)>& visit) {
  while (!raw.empty()) {
    if (raw.size() < journal::kFrameHeaderBytes)
      return fail(ErrorCode::kCorrupt, "a frame is cut off");
    HOTBACKUP_ASSIGN(const auto header, journal::decode(raw.substr(0, journal::kFrameHeaderBytes)));
    const std::size_t bytes = journal::frame_bytes(header.body_bytes);
    if (raw.size() < bytes) return fail(ErrorCode::kCorrupt, "a frame is cut off");
    HOTBACKUP_TRY(visit(
        {header, raw.substr(journal::kFrameHeaderBytes, header.body_bytes), raw.substr(0, bytes)}));
    raw.remove_prefix(bytes);
  }
  return {};
}

}  // namespace hotbackup::resync
