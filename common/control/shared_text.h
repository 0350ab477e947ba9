// SPDX-License-Identifier: Apache-2.0
// Texts in shared memory: fixed fields, and fields guarded by a sequence number against a reader
// that comes while they are written.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

namespace hotbackup::control {

/// Copies a text into a fixed field; cuts what does not fit, always ends with NUL.
void copy_text(char* to, std::size_t size, std::string_view text);

/// Text fields guarded by a sequence number (odd while written).
std::string read_guarded(const std::atomic<std::uint32_t>& sequence, const char* text,
                         std::size_t size);
void write_guarded(std::atomic<std::uint32_t>& sequence, char* text, std::size_t size,
                   std::string_view value);

}  // namespace hotbackup::control
