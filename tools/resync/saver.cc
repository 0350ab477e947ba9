// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/saver.h"

#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <thread>

#include "common/base/clock.h"
#include "common/journal/reader.h"
#include "common/os/file.h"
#include "tools/resync/places.h"
#include "tools/resync/save.h"
#include "tools/resync/verify.h"
#include "tools/resync/volume_writer.h"

namespace hotbackup::resync {
namespace {

constexpr char kFailed[] = "HB-save-failed";
constexpr char kSlow[] = "HB-save-slow";
constexpr char kTooOld[] = "HB-save-too-old";
constexpr char kOnePlace[] = "HB-save-one-place";
constexpr std::int64_t kSecond = 1'000'000'000;
/// What cannot be done now, because another save runs say, is looked at again so soon.
constexpr std::int64_t kLookAgain = 5 * kSecond;
constexpr std::uint64_t kVolumeBytes = 1 << 30;

std::int64_t now_ns() {
  return wall_now().time_since_epoch().count();
}

/// The last directory is made; the place that it is in, a mounted disk perhaps, has to be there.
Result<> make_place(const std::string& path) {
  if (::mkdir(path.c_str(), 0750) == 0 || errno == EEXIST) return {};
  return fail_errno("making " + path);
}

SaveFact fact_of(const Found& found) {
  SaveFact fact;
  fact.path = found.path;
  fact.volume = found.volume;
  fact.valid = found.problem.empty();
  fact.first = found.volume ? found.first() : found.number();
  fact.last = found.volume ? found.last() : found.number();
  fact.time_ns = found.volume ? found.end.value("time_ns", found.time_ns()) : found.time_ns();
  fact.bytes = found.bytes;
  fact.verified = fact.valid && read_verified(found.path).has_value();
  return fact;
}

}  // namespace

std::string plan_path(const std::string& group_directory) {
  return group_directory + "/saves-plan.json";
}

SavesPlan read_plan(const std::string& group_directory) {
  SavesPlan plan;
  const auto text = os::read_file(plan_path(group_directory));
  const Json json = text ? Json::parse(*text, nullptr, /*allow_exceptions=*/false) : Json();
  if (!json.is_object()) return plan;
  plan.since_ns = json.value("since_ns", std::int64_t{0});
  plan.next_ns = json.value("next_ns", std::int64_t{0});
  plan.full_seconds = json.value("full_seconds", 0.0);
  for (const Json& one : json.value("places", Json::array()))
    plan.places[one.value("path", "")] = {
        one.value("full_failed_ns", std::int64_t{0}), one.value("differential_ns", std::int64_t{0}),
        one.value("full_problem", ""), one.value("volume_problem", ""),
        one.value("old_problem", "")};
  return plan;
}

std::vector<SavePlace> look_at_places(const config::Saves& saves, const std::string& group_id,
                                      const SavesPlan& plan) {
  std::vector<SavePlace> places;
  for (const std::string& path : saves.into) {
    SavePlace place;
    place.path = path;
    if (const auto known = plan.places.find(path); known != plan.places.end()) {
      const SavesPlan::Place& memory = known->second;
      place.full_failed_ns = memory.full_failed_ns;
      place.differential_ns = memory.differential_ns;
      for (const auto* problem :
           {&memory.old_problem, &memory.volume_problem, &memory.full_problem})
        if (!problem->empty()) place.problem = *problem;
    }
    if (const auto found = find_files({path}))
      for (const Found& one : *found)
        if (one.group_id() == group_id) place.files.push_back(fact_of(one));
    places.push_back(std::move(place));
  }
  return places;
}

/// One save into several files; one that fails is left out, the others go on.
class Saver::Tee final : public Sink {
 public:
  struct Branch {
    std::size_t place = 0;
    std::unique_ptr<Sink> sink;  // none: it has failed
    std::string problem;
  };
  std::vector<Branch> branches;

  Result<> each(const std::function<Result<>(Sink&)>& work) {
    std::optional<Error> last;
    bool any = false;
    for (Branch& branch : branches) {
      if (!branch.sink) continue;
      if (auto done = work(*branch.sink); !done) {
        branch.sink.reset();
        branch.problem = done.error().text();
        last = done.error();
      } else {
        any = true;
      }
    }
    if (last && (!any || last->code() == ErrorCode::kCancelled)) return fail(std::move(*last));
    return any ? Result<>() : fail(ErrorCode::kIo, "there is no place left to save into");
  }
  Result<> write(std::string_view bytes) override {
    return each([bytes](Sink& sink) { return sink.write(bytes); });
  }
  void describe(const Json& head, const Json& end) override {
    for (Branch& branch : branches)
      if (branch.sink) branch.sink->describe(head, end);
  }
  Result<> finish() override {
    return each([](Sink& sink) { return sink.finish(); });
  }
};

/// Says that a save takes longer than its period while it still does: it may hang.
class Saver::Watch {
 public:
  Watch(control::Group& group, std::int64_t period_ns)
      : group_(group), period_(period_ns), thread_([this] { wait(); }) {}
  ~Watch() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
    if (!late_) group_.incidents().clear(kSlow);
  }
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  }

 private:
  void wait() {
    std::unique_lock lock(mutex_);
    if (period_.count() == 0 || changed_.wait_for(lock, period_, [this] { return ended_; })) return;
    late_ = true;
    group_.incidents().raise(kSlow, "",
                             "a save with its verification takes longer than its "
                             "period, " +
                                 human_duration(period_));
  }

  control::Group& group_;
  const std::chrono::nanoseconds period_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  bool late_ = false;
  std::thread thread_;
};

Saver::Saver(cli::OpenGroup& opened)
    : opened_(opened),
      group_(*opened.group),
      settings_(*opened.settings),
      saves_(opened.settings->saves),
      group_id_(opened.group->id().to_hex()) {}

Saver::~Saver() = default;

void Saver::failed(std::size_t place, std::string& where, const std::string& what) {
  well_ = false;
  where = what;
  std::fprintf(stderr, "hotbackup-resync: %s: %s: %s\n", kFailed, places_[place].path.c_str(),
               what.c_str());
}

void Saver::look() {
  places_ = look_at_places(saves_, group_id_, plan_);
}

Result<> Saver::run() {
  plan_ = read_plan(group_.directory());
  if (!saves_.any()) {
    clear_all();
    ::unlink(plan_path(group_.directory()).c_str());
    return {};
  }
  if (plan_.since_ns == 0 || plan_.since_ns > now_ns()) plan_.since_ns = now_ns();
  std::erase_if(plan_.places, [this](const auto& one) {
    return std::ranges::find(saves_.into, one.first) == saves_.into.end();
  });
  look();
  HOTBACKUP_TRY(work());
  tell();
  return write_plan();
}

Result<> Saver::work() {
  const bool slave = group_.role() == control::Role::kSlave;
  waiting_ = group_.role() == control::Role::kFenced || group_.id().is_none() ||
             (slave && group_.layout().applied.load() == 0);
  if (waiting_) return {};
  tidy();
  const Due due = what_is_due(saves_, places_, now_ns());
  if (!due.full.empty()) HOTBACKUP_TRY(make_full(due.full));
  for (const std::size_t place : due.differential) HOTBACKUP_TRY(make_volumes(place));
  if (!due.full.empty() || !due.differential.empty()) look();
  remove_old();
  return {};
}

/// What a run that was ended in the middle has left.
void Saver::tidy() {
  for (const SavePlace& place : places_) {
    std::error_code ignored;
    std::filesystem::remove_all(trial_in(place.path), ignored);
    for (const std::string& path : interrupted_in(place.path))
      if (std::filesystem::path(path).filename().string().starts_with(settings_.name + "-"))
        ::unlink(path.c_str());
  }
}

Result<> Saver::make_full(const std::vector<std::size_t>& due) {
  Watch watch(group_, period_ns(saves_.full));
  auto save = Save::begin(group_, &settings_);
  if (!save &&
      (save.error().code() == ErrorCode::kFenced || save.error().code() == ErrorCode::kBusy)) {
    std::fprintf(stderr, "hotbackup-resync: %s\n", save.error().text().c_str());
    waiting_ = true;
    return {};
  }
  Tee tee;
  const std::string name = save ? (*save)->file_name() : "";
  for (const std::size_t place : due) {
    const std::string& directory = places_[place].path;
    Tee::Branch branch{place, nullptr, {}};
    if (!save)
      branch.problem = save.error().text();
    else if (const auto made = make_place(directory); !made)
      branch.problem = made.error().text();
    else if (auto sink = make_file_sink(directory + "/" + name, saves_.filter); !sink)
      branch.problem = sink.error().text();
    else
      branch.sink = std::move(*sink);
    tee.branches.push_back(std::move(branch));
  }
  Result<> written = tee.each([](Sink&) { return Result<>(); });
  if (written) {
    auto report = (*save)->write(tee, {});
    written = report ? tee.finish() : Result<>(fail(report.error()));
  }
  if (!written && written.error().code() == ErrorCode::kCancelled) return written;
  if (save) save->reset();  // others may save, and its snapshots go, before it is verified
  std::vector<std::size_t> made;
  for (Tee::Branch& branch : tee.branches) {
    SavesPlan::Place& memory = this->memory(branch.place);
    if (branch.sink && !written) branch.problem = written.error().text();
    memory.full_failed_ns = branch.problem.empty() ? 0 : now_ns();
    memory.full_problem.clear();
    if (branch.problem.empty())
      made.push_back(branch.place);
    else
      failed(branch.place, memory.full_problem, branch.problem);
  }
  tee.branches.clear();
  HOTBACKUP_TRY(prove_full(made, name));
  plan_.full_seconds = watch.seconds();
  return {};
}

Result<> Saver::prove_full(const std::vector<std::size_t>& made, const std::string& name) {
  for (const std::size_t place : made) {
    const std::string& directory = places_[place].path;
    const std::string path = directory + "/" + name;
    if (const auto noted = note_place(group_, directory); !noted)
      std::fprintf(stderr, "warning: %s\n", noted.error().text().c_str());
    const VerifyWay way{settings_, group_, saves_.verify, trial_in(directory)};
    const auto how = verify_saved(path, way);
    SavesPlan::Place& memory = this->memory(place);
    if (how) {
      HOTBACKUP_TRY(write_verified(path, look_at(path).bytes, *how));
    } else if (how.error().code() == ErrorCode::kCancelled) {
      return fail(how.error());
    } else if (how.error().code() == ErrorCode::kCorrupt) {
      const std::string level = saves_.verify == config::Verify::kApp       ? "app"
                                : saves_.verify == config::Verify::kRestore ? "restore"
                                                                            : "read";
      (void)write_invalid(path, level, how.error().text());
      failed(place, memory.full_problem, path + " is invalid: " + how.error().text());
    } else {
      failed(place, memory.full_problem, path + " could not be verified: " + how.error().text());
    }
    HOTBACKUP_TRY(read_again(place, path));
  }
  return {};
}

// What one falls back on when the newest save is of no use: read once more, with its volumes, when
// that newest one is there.
Result<> Saver::read_again(std::size_t place, const std::string& newest) {
  std::string& problem = memory(place).old_problem;
  problem.clear();
  const SaveFact* before = nullptr;
  for (const SaveFact& one : places_[place].files)  // as they were before
    if (!one.volume && one.valid && one.path != newest &&
        (before == nullptr || one.time_ns > before->time_ns))
      before = &one;
  if (before == nullptr) return {};
  for (const SaveFact& one : places_[place].files) {
    if (!one.valid || (&one != before && !(one.volume && one.last > before->last))) continue;
    VerifyWay way{settings_, group_, config::Verify::kRead, trial_in(places_[place].path)};
    // One that could not be verified then gets its chance.
    if (!one.verified) way.level = saves_.verify;
    const auto how = verify_saved(one.path, way);
    if (how) {
      if (!one.verified) HOTBACKUP_TRY(write_verified(one.path, one.bytes, *how));
      continue;
    }
    if (how.error().code() == ErrorCode::kCancelled) return fail(how.error());
    if (how.error().code() == ErrorCode::kCorrupt)
      (void)write_invalid(one.path, "read", how.error().text());
    failed(place, problem, one.path + ": " + how.error().text());
  }
  return {};
}

/// Behind the newest volume, or the newest save, that is of this journal's history.
Result<Position> Saver::volumes_from(std::size_t place, std::string& predecessor) const {
  os::Directory& journal = group_.journal_directory();
  const auto found = find_files({places_[place].path});
  if (!found) return fail(found.error());
  std::optional<Error> why;
  for (const bool volume : {true, false}) {
    const Found* newest = nullptr;
    for (const Found& one : *found)
      if (one.volume == volume && one.problem.empty() && one.group_id() == group_id_ &&
          (newest == nullptr ||
           (volume ? one.last() >= newest->last() : one.number() >= newest->number())))
        newest = &one;
    if (newest == nullptr) continue;
    const UpdateNumber last(volume ? newest->last() : newest->number());
    const Json& says = volume ? newest->end : newest->head;
    auto at = journal::position_at(journal, group_.id(), last);
    if (at && at->chain.to_hex() == says.value("chain", "")) {
      if (volume) predecessor = std::filesystem::path(newest->path).filename();
      return at;
    }
    if (!why)
      why = at ? Error(ErrorCode::kDiverged, newest->path + " is not of this journal's history")
               : Error(at.error()).with_context("behind " + newest->path);
  }
  if (why && saves_.full.kind != config::Schedule::Kind::kOff) return fail(std::move(*why));
  HOTBACKUP_ASSIGN(const auto oldest, journal::oldest_update(journal));
  return journal::position_at(journal, group_.id(), oldest.previous());
}

Result<> Saver::make_volumes(std::size_t place) {
  SavesPlan::Place& memory = this->memory(place);
  const std::string& directory = places_[place].path;
  memory.differential_ns = now_ns();
  memory.volume_problem.clear();
  std::vector<VolumeReport> volumes;
  const auto write = [&]() -> Result<> {
    HOTBACKUP_TRY(make_place(directory));
    std::string predecessor;
    HOTBACKUP_ASSIGN(const Position from, volumes_from(place, predecessor));
    const UpdateNumber through =
        group_.role() == control::Role::kMaster ? group_.published() : group_.synced();
    if (from.number >= through) return {};
    journal::Reader reader(group_.journal_directory(), group_.id());
    HOTBACKUP_TRY(reader.seek(from.number.next()));
    VolumeWriter writer(
        group_, {{Destination::Kind::kDirectory, directory}, kVolumeBytes, saves_.filter, {}}, from,
        predecessor);
    for (;;) {
      HOTBACKUP_ASSIGN(const auto frame, reader.next(through));
      if (!frame) break;
      HOTBACKUP_TRY(writer.frame(*frame));
    }
    HOTBACKUP_TRY(writer.close());
    volumes = writer.volumes();
    return note_place(group_, directory);
  };
  const auto written = write();
  if (!written && written.error().code() == ErrorCode::kCancelled) return written;
  if (!written) failed(place, memory.volume_problem, written.error().text());
  for (const VolumeReport& one : volumes) {
    const auto how = verify_saved(one.path, {settings_, group_, config::Verify::kRead, ""});
    if (how) {
      HOTBACKUP_TRY(write_verified(one.path, look_at(one.path).bytes, *how));
      continue;
    }
    if (how.error().code() == ErrorCode::kCancelled) return fail(how.error());
    if (how.error().code() == ErrorCode::kCorrupt)
      (void)write_invalid(one.path, "read", how.error().text());
    failed(place, memory.volume_problem, one.path + ": " + how.error().text());
  }
  return {};
}

void Saver::remove_old() {
  if (!saves_.keep) return;
  for (std::size_t place = 0; place < places_.size(); ++place)
    for (const std::string& path : removable(places_[place].files, *saves_.keep, now_ns()))
      if (const auto removed = remove_saved(path); !removed)
        failed(place, memory(place).old_problem, removed.error().text());
}

void Saver::tell() {
  control::IncidentTable incidents = group_.incidents();
  std::set<std::string> failing;
  for (const auto& [path, memory] : plan_.places) {
    std::string text;
    for (const auto* problem : {&memory.full_problem, &memory.volume_problem, &memory.old_problem})
      if (!problem->empty()) text += (text.empty() ? "" : "; ") + *problem;
    if (text.empty()) continue;
    failing.insert(path);
    incidents.raise(kFailed, path, text);
  }
  for (const auto& one : incidents.open())
    if (one.code == kFailed && !failing.contains(one.subject))
      incidents.clear(kFailed, one.subject);
  const Standing standing =
      how_it_stands(saves_, look_at_places(saves_, group_id_, plan_), plan_.since_ns, now_ns());
  for (const auto& [code, text] :
       {std::pair(kTooOld, standing.too_old), std::pair(kOnePlace, standing.one_place)}) {
    if (text.empty())
      incidents.clear(code);
    else
      incidents.raise(code, "", text);
  }
}

void Saver::clear_all() {
  for (const char* code : {kFailed, kSlow, kTooOld, kOnePlace}) group_.incidents().clear_all(code);
}

Result<> Saver::write_plan() {
  const std::int64_t now = now_ns();
  const Due due = what_is_due(saves_, look_at_places(saves_, group_id_, plan_), now);
  const bool again = waiting_ || !due.full.empty() || !due.differential.empty();
  plan_.next_ns = due.next_ns.value_or(now + 24 * 3600 * kSecond);
  // How old the newest save is has to be seen also where nothing is due.
  if (again) plan_.next_ns = std::min(plan_.next_ns, now + (waiting_ ? kLookAgain : 0));
  Json places = Json::array();
  for (const auto& [path, memory] : plan_.places)
    places.push_back(Json{{"path", path},
                          {"full_failed_ns", memory.full_failed_ns},
                          {"differential_ns", memory.differential_ns},
                          {"full_problem", memory.full_problem},
                          {"volume_problem", memory.volume_problem},
                          {"old_problem", memory.old_problem}});
  const Json json{{"group", settings_.name},
                  {"time", iso8601(wall_now())},
                  {"next", iso8601(WallTime(std::chrono::nanoseconds(plan_.next_ns)))},
                  {"next_ns", plan_.next_ns},
                  {"since_ns", plan_.since_ns},
                  {"full_seconds", plan_.full_seconds},
                  {"places", std::move(places)}};
  return os::replace_file(plan_path(group_.directory()),
                          json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n",
                          group_.permissions());
}

}  // namespace hotbackup::resync
