// SPDX-License-Identifier: Apache-2.0
#include "common/people/node_watch.h"

#include <fcntl.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "common/os/file.h"
#include "common/os/ownership.h"

namespace hotbackup::people {
namespace {

using catalogue::Catalogue;
using catalogue::IncidentRecord;

constexpr std::chrono::milliseconds kLook{200};  // at the incident tables
constexpr std::chrono::seconds kTakeOver{2};     // at most this long nobody keeps watch
constexpr std::chrono::seconds kSettleMax{15};
constexpr std::size_t kShown = 50;                  // incidents on the status page
constexpr std::chrono::milliseconds kPageAge{250};  // however often it is asked for
constexpr std::chrono::seconds kPortPause{10};
constexpr char kNotifyFailed[] = "HB-notify-failed";

struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

NodeWatch::NodeWatch(config::Configuration configuration)
    : configuration_(std::move(configuration)), thread_([this] { run(); }) {}

NodeWatch::~NodeWatch() {
  {
    const std::lock_guard guard(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

bool NodeWatch::wait(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return !stopped_.wait_for(lock, time, [this] { return stop_; });
}

/// <state>/trace holds the time until which both servers log every message.
void NodeWatch::follow_trace() {
  const auto text = os::read_file(configuration_.node.state + "/trace", 100);
  const std::int64_t until = text ? std::strtoll(text->c_str(), nullptr, 10) : 0;
  const bool wanted = wall_now().time_since_epoch().count() < until;
  if (wanted == traces_) return;
  traces_ = wanted;
  spdlog::info("trace {}", wanted ? "begins" : "ends");
  spdlog::set_level(wanted ? spdlog::level::debug : spdlog::level::info);
}

/// False: the other server has it.
Result<bool> NodeWatch::take_lock() {
  const std::string& state = configuration_.node.state;
  struct stat parent {};
  if (::stat(state.c_str(), &parent) != 0) return fail_errno(state);
  const os::Permissions owner{parent.st_uid, parent.st_gid, 0640};
  HOTBACKUP_TRY(os::make_directories(catalogue::directory(state), owner));
  const std::string path = catalogue::directory(state) + "/watch.lock";
  os::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!fd) return fail_errno(path);
  os::give(path, owner);
  struct flock whole = whole_file();
  if (::fcntl(fd.get(), F_OFD_SETLK, &whole) != 0) return false;
  lock_ = std::move(fd);
  return true;
}

void NodeWatch::run() {
  ::pthread_setname_np(::pthread_self(), "watch");
  std::string said;
  do {
    const auto taken = take_lock();
    if (taken && *taken) {
      keep_watch();
      lock_.reset();
    }
    const std::string trouble = taken ? "" : taken.error().text();
    if (!trouble.empty() && trouble != said) spdlog::error("nobody keeps watch: {}", trouble);
    said = trouble;
    follow_trace();
  } while (wait(kTakeOver));
}

void NodeWatch::keep_watch() {
  auto catalogue = Catalogue::open(configuration_.node.state, Catalogue::Access::kWrite);
  if (!catalogue) {
    spdlog::error("the catalogue: {}", catalogue.error().text());
    return;
  }
  IncidentLog log(*catalogue);
  if (const auto resumed = log.resume(); !resumed)
    spdlog::error("the catalogue: {}", resumed.error().text());
  for (const config::Group& group : configuration_.groups)
    groups_.emplace_back(configuration_, group);
  for (const config::Notify& entry : configuration_.notify)
    channels_.emplace_back(entry, configuration_.node.smtp);
  if (const auto open = catalogue->open_incidents())
    for (const IncidentRecord& incident : *open)
      if (incident.told == IncidentRecord::Told::kRaised)
        for (Channel& channel : channels_) channel.teller().resume(incident, wall_now());
  if (auto waiting = catalogue->deliveries())
    for (catalogue::DeliveryRecord& delivery : *waiting) {
      const auto channel = std::ranges::find(channels_, delivery.to, &Channel::to);
      if (channel != channels_.end())
        channel->resume(std::move(delivery));
      else  // its entry has gone from the list
        (void)catalogue->drop_delivery(delivery.id);
    }
  do {
    const WallTime now = wall_now();
    look_at_groups(*catalogue, log, now);
    work_channels(*catalogue, log, now);
    serve_page(now);
    follow_trace();
    if (log.trouble() != log_trouble_ && !log.trouble().empty())
      spdlog::error("the log of incidents: {}", log.trouble());
    log_trouble_ = log.trouble();
  } while (wait(kLook));
  page_.reset();
  for (GroupWatch& group : groups_) group.keep_minute(*catalogue);
  channels_.clear();
  groups_.clear();
}

/// Another node on this machine may have the port; it is no incident.
void NodeWatch::serve_page(WallTime now) {
  if (page_ != nullptr || !configuration_.node.status || now < next_try_) return;
  next_try_ = now + kPortPause;
  auto opened = HttpServer::open(*configuration_.node.status,
                                 [this](const HttpRequest& request) { return answer(request); });
  const std::string trouble = opened ? "" : opened.error().text();
  if (!trouble.empty() && trouble != page_trouble_)
    spdlog::warn("the status page is not served: {}", trouble);
  page_trouble_ = trouble;
  if (!opened) return;
  page_ = std::move(*opened);
  spdlog::info("status page at http://{}/", config::to_text(*configuration_.node.status));
}

HttpResponse NodeWatch::answer(const HttpRequest& request) {
  const auto now = std::chrono::steady_clock::now();
  if (now - known_at_ > kPageAge) {
    known_ = {};
    known_.node = configuration_.node.name;
    known_.now = wall_now();
    for (const config::Group& settings : configuration_.groups) {
      auto status = status::read_status(configuration_, settings);
      if (status)
        known_.groups.push_back(std::move(*status));
      else
        known_.troubles.push_back(status.error().text());
    }
    const std::lock_guard guard(mutex_);
    known_.history = history_;
    known_at_ = now;
  }
  return respond(request, known_);
}

void NodeWatch::look_at_groups(Catalogue& catalogue, IncidentLog& log, WallTime now) {
  bool checked = false;
  for (GroupWatch& group : groups_) {
    const std::string& name = group.settings().name;
    WallTime& next = next_check_[name];
    if (now >= next || next - now > 2 * group.settings().check_period) {
      next = now + group.settings().check_period;
      group.check(catalogue, now);
      checked = true;
    }
    log.look(name, group.incidents(), now);
  }
  if (checked) note_history(catalogue, now);
}

std::chrono::milliseconds NodeWatch::settle_time(const std::string& group) const {
  const auto settings = config::find_group(configuration_, group);
  if (!settings) return kSettleMax;
  return std::min<std::chrono::milliseconds>(6 * (*settings)->check_period, kSettleMax);
}

void NodeWatch::work_channels(Catalogue& catalogue, IncidentLog& log, WallTime now) {
  for (IncidentRecord& incident : log.take_changes()) {
    for (Channel& channel : channels_)
      channel.teller().note(incident, settle_time(incident.group), now);
    std::erase_if(untold_, [&](const IncidentRecord& old) { return old.id == incident.id; });
    untold_.push_back(std::move(incident));
  }
  for (Channel& channel : channels_) {
    channel.work(catalogue, configuration_.node.name, now);
    const std::vector<std::string>& names = channel.teller().entry().groups;
    for (GroupWatch& group : groups_)
      if (std::ranges::any_of(names, [&](const std::string& name) {
            return name == "*" || name == group.settings().name;
          }))
        group.set(kNotifyFailed, name_of(channel.to()), channel.trouble());
  }
  std::erase_if(untold_, [&](const IncidentRecord& incident) {
    for (Channel& channel : channels_)
      if (channel.teller().waits(incident)) return false;
    log.note_told(incident);
    return true;
  });
}

void NodeWatch::note_history(Catalogue& catalogue, WallTime now) {
  auto incidents = catalogue.incidents("", kShown);
  const std::lock_guard guard(mutex_);
  for (const GroupWatch& group : groups_) {
    const auto point = group.last_point();
    std::deque<Point>& points = history_.points[group.settings().name];
    // As fine as the page can draw it.
    if (point && (points.empty() || point->time - points.back().time >= std::chrono::seconds(1)))
      points.push_back(*point);
    while (!points.empty() && now - points.front().time > kPlotted) points.pop_front();
  }
  if (incidents) history_.incidents = std::move(*incidents);
}

}  // namespace hotbackup::people
