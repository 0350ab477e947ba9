// SPDX-License-Identifier: Apache-2.0
#include "common/people/group_watch.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/status/status_json.h"
#include "common/status/verdict.h"

namespace hotbackup::people {
namespace {

using control::LinkState;
using control::Role;

constexpr std::string_view kDiskLow = "HB-disk-low";
constexpr std::string_view kJournalFailed = "HB-journal-failed";
constexpr std::string_view kLinkDown = "HB-link-down";
constexpr std::string_view kRpoPassed = "HB-rpo-passed";
constexpr std::string_view kServerDown = "HB-server-down";
constexpr std::string_view kCodes[] = {kDiskLow, kJournalFailed, kLinkDown, kRpoPassed,
                                       kServerDown};

constexpr double kDiskLowShare = 0.05;
constexpr std::uint64_t kDiskLowSegments = 4;

/// A seed is slow to begin on the other side, and says so itself.
bool is_down(const status::GroupStatus& status, const status::PeerStatus& peer, WallTime since) {
  if (peer.link == LinkState::kSeeding) return false;
  const WallTime heard = std::max(peer.heard.value_or(since), since);
  return status.now - heard > 3 * status.check_period;
}

/// Without changing numbers: an incident's text is not to change while it lasts.
std::string link_text(const status::PeerStatus& peer) {
  std::string text = peer.name + (peer.heard ? " was heard last at " + iso8601(*peer.heard)
                                             : std::string(" has not been heard"));
  if (!peer.text.empty()) text += ": " + peer.text;
  return text;
}

void judge_links(const status::GroupStatus& status, WallTime since, std::vector<Finding>& found) {
  for (const status::PeerStatus& peer : status.peers) {
    const bool matters = status.role == Role::kMaster || peer.name == status.master_name;
    if (matters && is_down(status, peer, since))
      found.push_back({std::string(kLinkDown), peer.name, link_text(peer)});
  }
}

void judge_disk(const config::Group& settings, const status::JournalStatus& journal,
                std::vector<Finding>& found) {
  if (journal.disk_bytes == 0) return;
  const auto least =
      static_cast<std::uint64_t>(kDiskLowShare * static_cast<double>(journal.disk_bytes));
  if (journal.free_bytes >= std::max(least, kDiskLowSegments * settings.segment_bytes)) return;
  found.push_back({std::string(kDiskLow), "",
                   "the disk of the journal has less than " +
                       human_bytes(std::max(least, kDiskLowSegments * settings.segment_bytes)) +
                       " free"});
}

}  // namespace

std::span<const std::string_view> state_codes() {
  return kCodes;
}

std::vector<Finding> judge_state(const status::GroupStatus& status, const config::Group& settings,
                                 WallTime since) {
  std::vector<Finding> found;
  if (!status.initialised || status.role == Role::kNone) return found;
  if (status.os_error != 0)
    found.push_back(
        {std::string(kJournalFailed), "",
         std::string("the journal could not be synced: ") + std::strerror(status.os_error)});
  // A restart, or a change of roles, is over before that.
  const WallTime alive = std::max(status.server.last_alive.value_or(since), since);
  if (!status.server.alive) {
    if (status.now - alive > 3 * status.check_period)
      found.push_back({std::string(kServerDown), status.server.program,
                       status.server.program + " " + status::server_text(status.server)});
  } else {
    judge_links(status, since, found);
  }
  if (status.role == Role::kMaster && settings.rpo &&
      status::seconds_since(status.now, status.exposure.oldest) >
          std::chrono::duration<double>(*settings.rpo).count())
    found.push_back({std::string(kRpoPassed), "",
                     "what was committed at " + iso8601(*status.exposure.oldest) +
                         " was not acknowledged within the objective of " +
                         config::to_text(*settings.rpo)});
  judge_disk(settings, status.journal, found);
  return found;
}

control::Group* GroupWatch::group() {
  const std::string directory = status::group_directory(configuration_, settings_.name);
  struct stat file {};
  if (::stat((directory + "/control").c_str(), &file) != 0) file.st_ino = 0;
  if (group_ == nullptr || file.st_ino != control_inode_) {
    group_.reset();
    auto opened = control::Group::open(directory);
    if (!opened) return nullptr;
    group_ = std::move(*opened);
    control_inode_ = ::stat((directory + "/control").c_str(), &file) == 0 ? file.st_ino : 0;
  }
  return group_->role() == Role::kNone ? nullptr : group_.get();
}

std::vector<control::Incident> GroupWatch::incidents() {
  control::Group* open = group();
  return open == nullptr ? std::vector<control::Incident>() : open->incidents().recent();
}

void GroupWatch::set(std::string_view code, std::string_view subject, const std::string& trouble) {
  control::Group* open = group();
  if (open == nullptr) return;
  const auto known = open->incidents().find(code, subject);
  if (trouble.empty()) {
    if (known) open->incidents().clear(code, subject);
  } else if (!known) {
    open->incidents().raise(code, subject, trouble);
  }
}

void GroupWatch::check(catalogue::Catalogue& catalogue, WallTime now) {
  control::Group* open = group();
  if (open == nullptr) return;
  const auto status = status::read_status(configuration_, settings_);
  if (!status) return;
  const std::vector<Finding> found = judge_state(*status, settings_, began_);
  for (const Finding& finding : found) set(finding.code, finding.subject, finding.text);
  // What was raised before this watch began has no time of grace.
  const std::vector<Finding> lasting = judge_state(*status, settings_, WallTime());
  for (const control::Incident& incident : open->incidents().open()) {
    const bool ours = std::ranges::find(kCodes, incident.code) != std::end(kCodes);
    const bool still = std::ranges::any_of(lasting, [&](const Finding& finding) {
      return finding.code == incident.code && finding.subject == incident.subject;
    });
    if (ours && !still) open->incidents().clear(incident.code, incident.subject);
  }
  last_point_ =
      Point{now, status::seconds_since(status->now, status->behind.oldest),
            status::seconds_since(status->now, status->exposure.oldest), status->published};
  keep_history(catalogue, *status);
}

void GroupWatch::keep_minute(catalogue::Catalogue& catalogue) {
  if (minute_.time != WallTime()) (void)catalogue.keep(settings_.name, minute_);
}

// A full disk loses history, nothing else.
void GroupWatch::keep_history(catalogue::Catalogue& catalogue, const status::GroupStatus& status) {
  const WallTime minute = std::chrono::floor<std::chrono::minutes>(status.now);
  if (minute_.time != minute) {
    keep_minute(catalogue);
    minute_ = {};
    if (const auto known = catalogue.samples(settings_.name, minute); known && !known->empty())
      minute_ = known->front();
    minute_.time = minute;
  }
  minute_.role = status::role_name(status.role);
  minute_.published = status.published;
  minute_.exposure_updates = std::max(minute_.exposure_updates, status.exposure.updates);
  minute_.exposure_seconds = std::max(minute_.exposure_seconds, last_point_->exposure_seconds);
  minute_.lag_seconds = std::max(minute_.lag_seconds, last_point_->lag_seconds);
  if (const auto trip = status::to_json(status)["test_round_trip_ms"]; trip.is_number())
    minute_.round_trip_ms = std::max(minute_.round_trip_ms.value_or(0), trip.get<double>());
  minute_.good = minute_.good && status::judge(status).good;

  if (!role_) {
    role_.emplace();
    if (const auto known = catalogue.roles(settings_.name, WallTime()); known && !known->empty())
      role_ = known->back();
  }
  if (role_->role == minute_.role && role_->epoch == status.epoch) return;
  role_ = {status.now, minute_.role, status.epoch, status.master_name};
  (void)catalogue.keep(settings_.name, *role_);
}

}  // namespace hotbackup::people
