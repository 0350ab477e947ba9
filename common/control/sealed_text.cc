// SPDX-License-Identifier: Apache-2.0
#include "common/control/sealed_text.h"

#include "common/base/bytes.h"

namespace hotbackup::control {
namespace {

std::string sealed(std::string text) {
  const std::uint64_t hash = hash64(text);
  return text + "check " + hex({reinterpret_cast<const char*>(&hash), sizeof hash}) + "\n";
}

}  // namespace

Result<std::string> read_sealed(const std::string& path, std::string_view title) {
  HOTBACKUP_ASSIGN(const auto text, os::read_file(path));
  const std::string first = std::string(title) + "\n";
  const std::size_t check = text.rfind("check ");
  if (check == std::string::npos || !text.starts_with(first) || check < first.size() ||
      sealed(text.substr(0, check)) != text)
    return fail(ErrorCode::kCorrupt, path + " is damaged");
  return text.substr(first.size(), check - first.size());
}

Result<> write_sealed(const std::string& path, std::string_view title, std::string_view lines,
                      const os::Permissions& permissions) {
  return os::replace_file(path, sealed(std::string(title) + "\n" + std::string(lines)),
                          permissions);
}

}  // namespace hotbackup::control
