// SPDX-License-Identifier: Apache-2.0
// hotbackup test: one test update through the whole path and back; --full walks and counts every
// database on both sides. hotbackup-master runs it each test_period.
#include <fcntl.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "common/base/bytes.h"
#include "common/os/unique_fd.h"
#include "common/service/server.h"
#include "common/status/test_history.h"
#include "tools/compare/comparison.h"
#include "tools/compare/remote_side.h"
#include "tools/hotbackup/test_write.h"

namespace hotbackup::cli {
namespace {

using nlohmann::ordered_json;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using wire::CompareAsk;
using Kind = CompareAsk::Kind;

constexpr milliseconds kEchoLimit{5000};    // or two check periods, if that is longer
constexpr milliseconds kFullLimit{60'000};  // of one answer
constexpr milliseconds kTurnLimit{10'000};
constexpr char kFailedCode[] = "HB-test-failed";
constexpr char kLate[] = "HB-test-late";
constexpr char kWrong[] = "HB-test-wrong";

struct TestOptions {
  std::string group;
  bool full = false;
  bool scheduled = false;
};

struct Echo {
  std::string peer;
  std::unique_ptr<compare::RemoteSide> side;
  status::TestResult result;
  std::string why;
  std::optional<compare::Outcome> counted;
};

/// One at a time in a group: each would read back the other's.
Result<os::UniqueFd> take_turn(control::Group& group) {
  const std::string path = group.directory() + "/testing.lock";
  os::UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!lock) return fail_errno("opening " + path);
  const auto end = steady_clock::now() + kTurnLimit;
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (steady_clock::now() > end) return fail(ErrorCode::kBusy, "another test is running");
    std::this_thread::sleep_for(milliseconds(20));
  }
  return lock;
}

std::string random_value() {
  std::random_device random;
  std::string bytes;
  for (int i = 0; i < 4; ++i) {
    char word[4];
    store_le(word, static_cast<std::uint32_t>(random()));
    bytes.append(word, sizeof word);
  }
  return iso8601(wall_now()) + " " + hex(bytes);
}

/// The side over there is there before the clock runs.
void open_side(const roles::Here& here, bool full, Echo& echo) {
  auto side = compare::RemoteSide::open(here, echo.peer, full ? kFullLimit : kEchoLimit);
  if (side) {
    const auto ready = (*side)->ask({Kind::kEcho});
    if (ready)
      echo.side = std::move(*side);
    else
      echo.why = ready.error().text();
  } else {
    echo.why = side.error().text();
  }
  if (echo.side == nullptr) echo.result.result = "no answer";
}

void wait_for_echo(const std::string& value, const Written& written, milliseconds limit,
                   Echo& echo) {
  echo.result.time = wall_now();
  echo.result.number = written.number;
  if (echo.side == nullptr) return;
  CompareAsk ask{Kind::kEcho, written.number};
  for (;;) {
    const auto answer = echo.side->ask(ask);
    const auto passed = steady_clock::now() - written.begun;
    if (!answer) {
      // It came as far as it is meant to come for now.
      const bool held = answer.error().code() == ErrorCode::kFenced;
      echo.result.result = held ? "held" : "no answer";
      echo.why = answer.error().text();
      return;
    }
    if (!answer->more) {
      const bool same = answer->body == hash128(value).to_hex();
      echo.result.result = same ? "echoed" : "wrong";
      if (same)
        echo.result.round_trip_ms = std::chrono::duration<double, std::milli>(passed).count();
      else
        echo.why = answer->body.empty() ? "there is no test update in the copy"
                                        : "the copy shows another test update";
      return;
    }
    if (passed > limit) {
      echo.result.result = "late";
      echo.why = "the copy is at update " + human_count(answer->number.value) + " after " +
                 human_duration(std::chrono::duration_cast<milliseconds>(passed));
      return;
    }
  }
}

/// The rules: an incident while the newest test update says so.
void judge(control::Group& group, const Echo& echo) {
  control::IncidentTable incidents = group.incidents();
  const std::string& result = echo.result.result;
  const std::string text = "test update " + std::to_string(echo.result.number.value) + ", " +
                           echo.peer + ": " + (echo.why.empty() ? result : echo.why);
  if (result == "wrong")
    incidents.raise(kWrong, echo.peer, text);
  else if (result == "echoed")
    incidents.clear(kWrong, echo.peer);
  if (result == "late" || result == "no answer")
    incidents.raise(kLate, echo.peer, text);
  else
    incidents.clear(kLate, echo.peer);
}

/// A dead man's switch: whoever listens there misses it when it stays away.
Result<> ping(const std::string& url) {
  std::string words[] = {"curl", "-fsS", "-m", "20", "-o", "/dev/null", "--", url};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t pid = -1;
  if (const int error = ::posix_spawnp(&pid, "curl", nullptr, nullptr, arguments.data(), environ);
      error != 0)
    return fail_errno("heartbeat_url: the program curl", error);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status == 0) return {};
  return fail(ErrorCode::kIo, "heartbeat_url cannot be reached: " + url);
}

std::string printed(const compare::Counted& one) {
  return one.environment + ", " +
         (one.main ? "main database" : "database " + printable(one.database));
}

/// Every database, on both sides, at one number.
Result<> count_everything(control::Group& group, const config::Group& settings, Echo& echo) {
  compare::LocalSide local(group, settings);
  compare::Comparison comparison(local, *echo.side);
  HOTBACKUP_ASSIGN(echo.counted, comparison.run());
  return {};
}

void print_counted(const std::string& name, const std::string& node, const Echo& echo) {
  const compare::Outcome& outcome = *echo.counted;
  for (const compare::Counted& one : outcome.counted)
    std::printf("%s  %s: %s %s, %s %s\n", name.c_str(), printed(one).c_str(), node.c_str(),
                human_count(one.on_master).c_str(), echo.peer.c_str(),
                human_count(one.on_slave).c_str());
  const std::string verdict = outcome.differences.empty()
                                  ? "EQUAL"
                                  : "DIFFERS in " + human_count(outcome.differences.size()) +
                                        " places: hotbackup compare " + name;
  std::printf("%s  %s and %s: %s databases, %s items, %s at update %s\n", name.c_str(),
              node.c_str(), echo.peer.c_str(), human_count(outcome.databases).c_str(),
              human_count(outcome.items).c_str(), verdict.c_str(),
              human_count(outcome.number.value).c_str());
}

ordered_json to_json(const Echo& echo) {
  ordered_json json{
      {"node", echo.peer},
      {"result", echo.result.result},
      {"round_trip_ms", echo.result.round_trip_ms ? ordered_json(*echo.result.round_trip_ms)
                                                  : ordered_json(nullptr)},
      {"text", echo.why}};
  if (!echo.counted) return json;
  json["number"] = echo.counted->number.value;
  json["items"] = echo.counted->items;
  json["equal"] = echo.counted->differences.empty();
  json["databases"] = ordered_json::array();
  for (const compare::Counted& one : echo.counted->counted)
    json["databases"].push_back(
        {{"environment", one.environment},
         {"database", one.main ? ordered_json(nullptr) : ordered_json(printable(one.database))},
         {"master_items", one.on_master},
         {"slave_items", one.on_slave}});
  return json;
}

int report(const Session& session, const roles::Here& here, const Written& written,
           const std::vector<Echo>& echoes) {
  const std::string& name = here.settings.name;
  ordered_json copies = ordered_json::array();
  double slowest = 0;
  bool all_back = true;
  int code = kDone;
  for (const Echo& echo : echoes) {
    all_back = all_back && echo.result.round_trip_ms.has_value();
    slowest = std::max(slowest, echo.result.round_trip_ms.value_or(0));
    if (echo.counted && !echo.counted->differences.empty()) code = std::max<int>(code, kFound);
    if (echo.result.result == "wrong") code = std::max<int>(code, kFound);
    if (echo.result.result == "late" || echo.result.result == "no answer") code = kGaveUp;
    if (echo.result.result == "held") code = std::max<int>(code, kWrongState);
    copies.push_back(to_json(echo));
    if (session.json) continue;
    if (echo.result.round_trip_ms)
      std::printf("%s  test update %s came back from %s in %.1f ms\n", name.c_str(),
                  human_count(written.number.value).c_str(), echo.peer.c_str(),
                  *echo.result.round_trip_ms);
    else if (echo.result.result == "held")
      std::fprintf(stderr, "hotbackup: test update %s was not read back: %s\n",
                   human_count(written.number.value).c_str(), echo.why.c_str());
    else
      std::fprintf(stderr, "hotbackup: %s: test update %s, %s: %s: %s\n",
                   echo.result.result == "wrong" ? kWrong : kLate,
                   human_count(written.number.value).c_str(), echo.peer.c_str(),
                   echo.result.result.c_str(), echo.why.c_str());
    if (echo.counted) print_counted(name, here.node(), echo);
  }
  if (session.json)
    std::printf("%s\n", ordered_json{{"group", name},
                                     {"number", written.number.value},
                                     {"round_trip_ms",
                                      all_back ? ordered_json(slowest) : ordered_json(nullptr)},
                                     {"copies", copies}}
                            .dump()
                            .c_str());
  return code;
}

std::vector<Echo> peers_with_copies(control::Group& group, const config::Group& settings) {
  std::vector<Echo> echoes;
  for (const std::string& name : settings.peers) {
    const control::PeerEntry* entry = group.peer(name);
    if (entry == nullptr || entry->seeded.load() == 0) continue;
    Echo echo;
    echo.peer = echo.result.peer = name;
    echoes.push_back(std::move(echo));
  }
  return echoes;
}

Result<int> run_test(const Session& session, const TestOptions& options) {
  HOTBACKUP_ASSIGN(const auto opened, open_group(session, options.group));
  control::Group& group = *opened->group;
  const config::Group& settings = *opened->settings;
  if (group.role() != control::Role::kMaster)
    return fail(ErrorCode::kFenced, "group " + settings.name + " is " +
                                        std::string(role_name(group.role())) +
                                        " here: test updates begin on its master");
  const roles::Here here{opened->configuration, settings, group, service::program_version()};
  std::vector<Echo> echoes = peers_with_copies(group, settings);
  if (echoes.empty()) {
    if (options.scheduled) return kDone;
    return fail(ErrorCode::kFenced, "no slave of " + settings.name + " has a copy yet");
  }
  HOTBACKUP_ASSIGN(const os::UniqueFd turn, take_turn(group));
  for (Echo& echo : echoes) open_side(here, options.full, echo);
  const std::string value = random_value();
  const auto written = write_test_update(group, value);
  if (!written) {
    group.incidents().raise(kFailedCode, "", written.error().text());
    return fail(written.error());
  }
  group.incidents().clear(kFailedCode);
  const milliseconds limit = std::max(kEchoLimit, 2 * settings.check_period);
  bool all = true;
  for (Echo& echo : echoes) {
    wait_for_echo(value, *written, limit, echo);
    judge(group, echo);
    HOTBACKUP_TRY(status::note_test(group, echo.result));
    all = all && echo.result.result == "echoed";
    if (options.full && echo.result.result == "echoed")
      HOTBACKUP_TRY(count_everything(group, settings, echo));
  }
  const auto& url = opened->configuration.node.heartbeat_url;
  if (options.scheduled && all && url) HOTBACKUP_TRY(ping(*url));
  return report(session, here, *written, echoes);
}

}  // namespace

void add_test(CLI::App& app, Session& session) {
  auto options = std::make_shared<TestOptions>();
  auto* command = app.add_subcommand(
      "test", "One test update through the whole path: waits for its echo, prints the round trip");
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_flag("--full", options->full, "also walks and counts every database on both sides");
  command->add_flag("--scheduled", options->scheduled)->group("");  // by hotbackup-master
  command->callback([&session, options] {
    session.action = [&session, options] { return run_test(session, *options); };
  });
  add_test_write(app, session);
}

}  // namespace hotbackup::cli
