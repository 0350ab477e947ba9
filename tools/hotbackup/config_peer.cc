// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/config_peer.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/roles/peers.h"
#include "common/roles/shared_settings.h"

namespace hotbackup::cli {
namespace {

using nlohmann::ordered_json;

constexpr std::chrono::seconds kPatience{5};

Result<ordered_json> ask(const roles::Here& here, const std::string& peer) {
  HOTBACKUP_ASSIGN(const auto link, roles::PeerLink::open(here, peer, kPatience));
  wire::Ask question;
  question.body = roles::kAsksSettings;
  HOTBACKUP_ASSIGN(const wire::Answer answer, link->ask(std::move(question), kPatience));
  if (answer.exit != 0) return fail(ErrorCode::kRefused, answer.text);
  ordered_json settings = ordered_json::parse(answer.report, nullptr, /*allow_exceptions=*/false);
  if (!settings.is_object())
    return fail(ErrorCode::kVersion, peer + " runs a version that does not say");
  return settings;
}

struct Outcome {
  bool differs = false;
  bool silent = false;
};

ordered_json compare(const Session& session, const roles::Here& here, const std::string& peer,
                     Outcome& outcome) {
  const std::string who = here.settings.name + "  " + peer;
  const auto there = ask(here, peer);
  ordered_json out{{"name", peer},
                   {"reached", there.has_value()},
                   {"text", there ? "" : there.error().text()},
                   {"differences", ordered_json::array()}};
  if (!there) {
    outcome.silent = true;
    if (!session.json)
      std::printf("%s  no answer: %s\n", who.c_str(), there.error().text().c_str());
    return out;
  }
  const auto own = roles::shared_settings(here.configuration, here.settings);
  const auto found = roles::differences(own, *there);
  outcome.differs = outcome.differs || !found.empty();
  if (!session.json && found.empty()) std::printf("%s  the same\n", who.c_str());
  for (const roles::Difference& one : found) {
    const auto shown = [](const std::string& text) { return text.empty() ? "not there" : text; };
    out["differences"].push_back({{"key", one.key}, {"here", one.here}, {"there", one.there}});
    if (!session.json)
      std::printf("%s  %s: here %s, there %s\n", who.c_str(), one.key.c_str(),
                  shown(one.here).c_str(), shown(one.there).c_str());
  }
  return out;
}

}  // namespace

Result<int> compare_configurations(const Session& session,
                                   const config::Configuration& configuration) {
  Outcome outcome;
  ordered_json out{{"groups", ordered_json::array()}};
  for (const config::Group& settings : configuration.groups) {
    HOTBACKUP_ASSIGN(const auto group, open_group(configuration, settings));
    const roles::Here here{configuration, settings, *group, "hotbackup " HOTBACKUP_VERSION};
    ordered_json one{{"name", settings.name}, {"peers", ordered_json::array()}};
    for (const std::string& peer : settings.peers)
      one["peers"].push_back(compare(session, here, peer, outcome));
    out["groups"].push_back(std::move(one));
  }
  if (session.json)
    std::printf("%s\n", out.dump(-1, ' ', false, ordered_json::error_handler_t::replace).c_str());
  if (outcome.differs) return kFound;
  return outcome.silent ? kFailed : kDone;
}

}  // namespace hotbackup::cli
