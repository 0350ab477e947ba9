// SPDX-License-Identifier: Apache-2.0
#include "common/wire/compare_message.h"

#include <algorithm>

#include "hotbackup.pb.h"

namespace hotbackup::wire {
namespace {

// A protobuf string has to be UTF-8; a path in an error text need not be.
std::string ascii(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return text;
}

}  // namespace

std::string encode(const CompareAsk& ask) {
  proto::CompareAsk to;
  to.set_kind(static_cast<proto::CompareAsk::Kind>(ask.kind));
  to.set_number(ask.number.value);
  to.set_hold(ask.hold);
  to.set_from(ask.from);
  to.set_environment(ask.environment.value);
  to.set_main(ask.main);
  to.set_name(ask.name);
  to.set_bits(ask.bits);
  to.set_level(ask.level);
  to.set_body(ask.body);
  to.set_last(ask.last);
  to.set_text(ascii(ask.text));
  return to.SerializeAsString();
}

Result<CompareAsk> decode_compare_ask(std::string_view bytes) {
  proto::CompareAsk from;
  if (!from.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      !proto::CompareAsk::Kind_IsValid(from.kind()))
    return fail(ErrorCode::kProtocol, "a question of a comparison that is none");
  return CompareAsk{static_cast<CompareAsk::Kind>(from.kind()),
                    UpdateNumber(from.number()),
                    from.hold(),
                    from.from(),
                    EnvironmentNumber(from.environment()),
                    from.main(),
                    from.name(),
                    from.bits(),
                    from.level(),
                    from.body(),
                    from.last(),
                    from.text()};
}

std::string encode(const Result<CompareAnswer>& answer) {
  proto::CompareAnswer to;
  if (!answer) {
    to.set_error(static_cast<std::uint32_t>(answer.error().code()) + 1);
    to.set_text(ascii(answer.error().text()));
    return to.SerializeAsString();
  }
  to.set_more(answer->more);
  to.set_number(answer->number.value);
  to.set_items(answer->items);
  to.set_local(answer->local);
  to.set_bytes(answer->bytes);
  to.set_body(answer->body);
  for (const ComparedDatabase& one : answer->databases) {
    auto& database = *to.add_database();
    database.set_environment(one.environment.value);
    database.set_environment_name(ascii(one.environment_name));
    database.set_main(one.main);
    database.set_name(one.name);
    database.set_flags(one.flags);
    database.set_items(one.items);
  }
  return to.SerializeAsString();
}

Result<CompareAnswer> decode_compare_answer(std::string_view bytes) {
  proto::CompareAnswer from;
  if (!from.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail(ErrorCode::kProtocol, "an answer of a comparison that is none");
  if (from.error() != 0) {
    const std::uint32_t code =
        std::min(from.error() - 1, static_cast<std::uint32_t>(ErrorCode::kCancelled));
    return fail(static_cast<ErrorCode>(code), ascii(from.text()));
  }
  CompareAnswer answer{from.more(),
                       UpdateNumber(from.number()),
                       from.items(),
                       from.local(),
                       from.bytes(),
                       from.body(),
                       {}};
  for (const auto& one : from.database())
    answer.databases.push_back({EnvironmentNumber(one.environment()), ascii(one.environment_name()),
                                one.main(), one.name(), one.flags(), one.items()});
  return answer;
}

}  // namespace hotbackup::wire
