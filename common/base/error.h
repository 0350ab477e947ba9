// SPDX-License-Identifier: Apache-2.0
// The one error type. Its code is chosen by the reaction it calls for, its text is for a person.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace hotbackup {

enum class ErrorCode {
  kIo,            // the operating system refused; see os_error
  kNoSpace,       // disk or map full: wait for room, then try again
  kCorrupt,       // bytes that are damaged: stop, incident
  kGap,           // history is missing between two updates: seed
  kDiverged,      // two histories that disagree: rejoin
  kFenced,        // role, epoch or gate forbids it here
  kDisconnected,  // the peer went away: dial again
  kTimeout,
  kBusy,      // held by somebody else: try later
  kProtocol,  // a peer broke the protocol: close the link
  kVersion,   // a format or protocol version this program does not know
  kConfig,    // the user must change the configuration or the command line
  kNotFound,
  kRefused,  // would destroy or mix up data: needs a decision by a person
  kCancelled,
};

/// Stable lower-case name, as in JSON output ("no space" is "no_space").
std::string_view error_code_name(ErrorCode code);

/// What went wrong. `text` is one sentence without a full stop that names the thing concerned.
class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string text, int os_error = 0)
      : code_(code), os_error_(os_error), text_(std::move(text)) {}

  /// From errno: ENOSPC and EDQUOT become kNoSpace, ENOENT kNotFound, the rest kIo.
  static Error from_errno(std::string text, int os_error = errno);

  ErrorCode code() const { return code_; }
  int os_error() const { return os_error_; }
  const std::string& text() const { return text_; }

  /// Puts context in front on the way up: "opening journal: …".
  Error with_context(std::string_view context) &&;

 private:
  ErrorCode code_;
  int os_error_;
  std::string text_;
};

template <class T = void>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(Error error) {
  return tl::unexpected<Error>(std::move(error));
}
inline tl::unexpected<Error> fail(ErrorCode code, std::string text, int os_error = 0) {
  return tl::unexpected<Error>(Error(code, std::move(text), os_error));
}
inline tl::unexpected<Error> fail_errno(std::string text, int os_error = errno) {
  return tl::unexpected<Error>(Error::from_errno(std::move(text), os_error));
}

}  // namespace hotbackup

/// Returns the error of a Result expression to the caller, or goes on.
#define HOTBACKUP_TRY(expression)                                                     \
  do {                                                                                \
    auto hotbackup_try_ = (expression);                                               \
    if (!hotbackup_try_) return ::hotbackup::fail(std::move(hotbackup_try_).error()); \
  } while (false)

#define HOTBACKUP_CONCAT_(a, b) a##b
#define HOTBACKUP_CONCAT(a, b) HOTBACKUP_CONCAT_(a, b)
#define HOTBACKUP_ASSIGN_(name, declaration, expression)        \
  auto name = (expression);                                     \
  if (!name) return ::hotbackup::fail(std::move(name).error()); \
  declaration = std::move(*name)
/// HOTBACKUP_ASSIGN(auto x, f()): x is f's value, or its error is returned to the caller.
#define HOTBACKUP_ASSIGN(declaration, expression) \
  HOTBACKUP_ASSIGN_(HOTBACKUP_CONCAT(hotbackup_result_, __LINE__), declaration, expression)
