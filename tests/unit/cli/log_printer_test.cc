// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/log_printer.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/update/codec.h"

namespace hotbackup::cli {
namespace {

/// What is printed to stdout meanwhile.
template <class Action>
std::string printed(Action action) {
  std::fflush(stdout);
  std::FILE* file = std::tmpfile();
  const int before = ::dup(STDOUT_FILENO);
  ::dup2(::fileno(file), STDOUT_FILENO);
  action();
  std::fflush(stdout);
  ::dup2(before, STDOUT_FILENO);
  ::close(before);
  std::string text(static_cast<std::size_t>(::lseek(::fileno(file), 0, SEEK_END)), '\0');
  const bool whole =
      ::pread(::fileno(file), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
  std::fclose(file);
  return whole ? text : std::string();
}

std::string put_body(const std::string& key, const std::string& value) {
  std::string body;
  update::BodyWriter writer(body);
  update::Operation operation;
  operation.kind = update::OperationKind::kPut;
  operation.database.name = "zones";
  operation.key = key;
  operation.value = value;
  writer.add(operation);
  return body;
}

journal::FrameView part(const std::string& body, std::uint64_t number, std::uint32_t index,
                        bool last) {
  journal::FrameView frame;
  frame.header.number = UpdateNumber(number);
  frame.header.part = index;
  frame.header.last_part = last;
  frame.header.environment = EnvironmentNumber(1);
  frame.header.update_bytes = 400;
  frame.body = body;
  return frame;
}

LogPrinter printer(LogPrinter::Form form, LogFilter filter) {
  return LogPrinter(form, std::move(filter), [](EnvironmentNumber number) {
    return LogPrinter::Names{"env-" + std::to_string(number.value), "env"};
  });
}

nlohmann::json log_of_two_parts_and_a_void(LogFilter filter) {
  const std::string text = printed([&] {
    LogPrinter out = printer(LogPrinter::Form::kOneObject, std::move(filter));
    const std::string first = put_body("a", "1"), second = put_body("b", std::string("\0\xff", 2));
    out.begin("dns");
    CHECK(out.frame(part(first, 7, 0, false)));
    CHECK(out.frame(part(second, 7, 1, true)));
    auto last = part(first, 8, 0, true);
    last.header.void_word = 1;
    CHECK(out.frame(last));
    out.end();
  });
  return nlohmann::json::parse(text);
}

}  // namespace

TEST_CASE("the parts of an update are one entry and a void one says so") {
  const auto log = log_of_two_parts_and_a_void({});
  REQUIRE(log["updates"].size() == 2);
  CHECK(log["group"] == "dns");
  CHECK(log["updates"][0]["number"] == 7);
  CHECK(log["updates"][0]["operation_count"] == 2);
  CHECK(log["updates"][0]["environment"] == "env-1");
  CHECK(log["updates"][0]["void"] == false);
  CHECK(log["updates"][1]["void"] == true);
}

TEST_CASE("data shows keys and values, bytes as hexadecimal") {
  LogFilter filter;
  filter.data = true;
  const auto log = log_of_two_parts_and_a_void(filter);
  const auto& operations = log["updates"][0]["operations"];
  REQUIRE(operations.size() == 2);
  CHECK(operations[0]["key"] == "a");
  CHECK(operations[1]["value"] == "0x00ff");
}

TEST_CASE("an update without what is looked for is left out") {
  LogFilter filter;
  filter.key = "b";
  const auto log = log_of_two_parts_and_a_void(filter);
  REQUIRE(log["updates"].size() == 1);
  CHECK(log["updates"][0]["number"] == 7);
  filter = {};
  filter.environment = "other";
  CHECK(log_of_two_parts_and_a_void(filter)["updates"].empty());
  filter.environment = "env";
  CHECK(log_of_two_parts_and_a_void(filter)["updates"].size() == 2);
}

TEST_CASE("a body that is none is an error") {
  (void)printed([] {
    LogPrinter out = printer(LogPrinter::Form::kText, {});
    const std::string nonsense = "\xff\xff\xff";
    const auto shown = out.frame(part(nonsense, 1, 0, true));
    CHECK_FALSE(shown);
  });
}

}  // namespace hotbackup::cli
