// SPDX-License-Identifier: Apache-2.0
#include "common/base/ids.h"

#include "common/base/bytes.h"

namespace hotbackup {

std::string GroupId::to_hex() const {
  return hex({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

Result<GroupId> GroupId::from_hex(std::string_view text) {
  auto decoded = unhex(text);
  GroupId id;
  if (!decoded || decoded->size() != id.bytes.size())
    return fail(ErrorCode::kCorrupt, "a group id is 32 hexadecimal digits");
  for (std::size_t i = 0; i < id.bytes.size(); ++i)
    id.bytes[i] = static_cast<std::uint8_t>((*decoded)[i]);
  return id;
}

std::string ChainHash::to_hex() const {
  std::array<char, 16> raw;
  store_le64(raw.data(), low);
  store_le64(raw.data() + 8, high);
  return hex({raw.data(), raw.size()});
}

}  // namespace hotbackup
