// SPDX-License-Identifier: Apache-2.0
// hotbackup notify-test: whether the people of the notify list can be reached. Here, and not in
// `hotbackup`, because sending needs libcurl: with what that brings along, `hotbackup role` took
// twice as long to start.
#include <atomic>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/people/message.h"
#include "tools/hotbackup/command.h"

namespace hotbackup::cli {
namespace {

using nlohmann::ordered_json;

Result<int> notify_test(const Session& session) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  if (configuration.notify.empty())
    return fail(ErrorCode::kConfig, configuration.source + " has no [[notify]]: nobody is told");
  const std::string message = people::make_test_message(configuration.node.name, wall_now());
  const std::atomic<bool> never = false;
  std::size_t reached = 0;
  ordered_json out{{"notify", ordered_json::array()}};
  for (const config::Notify& entry : configuration.notify) {
    const Result<> sent = people::send(entry.to, message, configuration.node.smtp, never);
    reached += sent ? 1 : 0;
    out["notify"].push_back({{"to", entry.to},
                             {"reached", sent.has_value()},
                             {"text", sent ? "" : sent.error().text()}});
    if (!session.json)
      std::printf("%s  %s\n", entry.to.c_str(),
                  sent ? "reached" : ("NOT REACHED: " + sent.error().text()).c_str());
  }
  if (session.json)
    std::printf("%s\n", out.dump(-1, ' ', false, ordered_json::error_handler_t::replace).c_str());
  if (reached == configuration.notify.size()) return kDone;
  return reached == 0 ? kFailed : kNeedsYou;
}

}  // namespace

void add_notify_test(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "notify-test",
      "Sends a test notice to everyone on the list; exit 6 if some were not reached");
  command->callback([&session] { session.action = [&session] { return notify_test(session); }; });
}

}  // namespace hotbackup::cli
