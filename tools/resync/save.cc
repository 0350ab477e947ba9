// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/save.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>

#include "common/base/bytes.h"
#include "common/journal/reader.h"
#include "common/os/unique_fd.h"
#include "common/roles/change.h"
#include "master/seed_source.h"
#include "tools/hotbackup/command.h"
#include "tools/resync/carried_files.h"
#include "tools/resync/frames.h"
#include "tools/resync/progress.h"

namespace hotbackup::resync {
namespace {

/// Updates before the save's number whose published hash it names: enough to tell histories apart
/// that differ in voids only.
constexpr std::uint64_t kHashedUpdates = 64;
constexpr char kLockName[] = "/saving.lock";

Result<os::UniqueFd> lock_saving(control::Group& group) {
  const std::string path = group.directory() + kLockName;
  os::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!fd) return fail_errno("opening " + path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::kFenced, "another save of group " +
                                        std::string(group.layout().group_name) +
                                        " is running: wait for its end");
  return fd;
}

/// Commit time of an update that the journal still holds.
std::optional<WallTime> commit_time(control::Group& group, UpdateNumber number) {
  journal::Reader reader(group.journal_directory(), group.id());
  if (number.value == 0 || !reader.seek(number)) return std::nullopt;
  const auto frame = reader.next(number);
  if (!frame || !*frame) return std::nullopt;
  return (*frame)->header.commit_time;
}

std::string compact(WallTime time) {
  std::string text;
  for (const char c : iso8601(time).substr(0, 19))
    if (c != '-' && c != ':') text += c;
  return text + "Z";
}

}  // namespace

struct Save::State {
  explicit State(control::Group& of) : group(of) {}
  control::Group& group;
  const config::Group* settings = nullptr;
  os::UniqueFd lock;
  std::unique_ptr<master::SeedSource> source;
  WallTime time;
  std::optional<WallTime> commit_time;
  std::uint64_t free_bytes = 0;
  std::uint64_t growth = 0;
};

Save::Save() = default;
Save::~Save() = default;

Result<std::unique_ptr<Save>> Save::begin(control::Group& group, const config::Group* settings) {
  if (group.role() == control::Role::kFenced)
    return fail(ErrorCode::kFenced,
                "group " + std::string(group.layout().group_name) +
                    " is fenced here: save it on its master, or after the rejoin");
  if (group.role() == control::Role::kSlave && group.layout().applied.load() == 0)
    return fail(ErrorCode::kFenced,
                "group " + std::string(group.layout().group_name) +
                    " has no copy here yet, or hotbackup-slave was not started since the boot");
  std::unique_ptr<Save> save(new Save);
  save->state_ = std::make_unique<State>(group);
  State& state = *save->state_;
  state.settings = settings;
  HOTBACKUP_ASSIGN(state.lock, lock_saving(group));
  HOTBACKUP_ASSIGN(state.source, master::SeedSource::cut(group));
  state.source->hash_content();
  state.time = wall_now();
  state.commit_time = resync::commit_time(group, state.source->position().number);
  save->plan_ = {state.source->position(), state.source->items(), 0};
  state.free_bytes = ~std::uint64_t{0};
  for (const auto& body : state.source->environments()) {
    const auto* entry = group.environment(body.number);
    struct stat status {};
    struct statvfs disk {};
    const std::string file = lmdb::data_file(entry->path, body.subdirectory);
    if (::stat(file.c_str(), &status) == 0)
      save->plan_.bytes +=
          std::min<std::uint64_t>(static_cast<std::uint64_t>(status.st_size),
                                  static_cast<std::uint64_t>(status.st_blocks) * 512);
    if (::statvfs(file.c_str(), &disk) == 0)
      state.free_bytes = std::min<std::uint64_t>(state.free_bytes, disk.f_bavail * disk.f_frsize);
  }
  return save;
}

std::string Save::file_name() const {
  char number[32];
  std::snprintf(number, sizeof number, "%016llu",
                static_cast<unsigned long long>(plan_.position.number.value));
  return std::string(state_->group.layout().group_name) + "-" + number + "-" +
         compact(state_->time) + ".hbs";
}

Json epoch_json(const Epoch& epoch) {
  return Json{{"counter", epoch.counter}, {"node", epoch.node.value}};
}

Epoch epoch_of(const Json& json) {
  const Json epoch = json.value("epoch", Json::object());
  return {epoch.value("counter", std::uint64_t{0}), NodeId(epoch.value("node", std::uint64_t{0}))};
}

Json Save::head() const {
  const control::Layout& layout = state_->group.layout();
  Json head;
  head["kind"] = "save";
  head["group"] = layout.group_name;
  head["group_id"] = state_->group.id().to_hex();
  head["node"] = layout.node_name;
  head["role"] = cli::role_name(state_->group.role());
  head["epoch"] = epoch_json(plan_.position.epoch);
  head["number"] = plan_.position.number.value;
  head["chain"] = plan_.position.chain.to_hex();
  const std::uint64_t through = plan_.position.number.value;
  const std::uint64_t from = through > kHashedUpdates ? through - kHashedUpdates + 1 : 1;
  if (through != 0)
    if (const auto hash =
            roles::published_hash(state_->group, UpdateNumber(from), plan_.position.number))
      head["published"] = Json{{"from", from}, {"hash", *hash}};
  head["time"] = iso8601(state_->time);
  head["time_ns"] = state_->time.time_since_epoch().count();
  if (state_->commit_time) {
    head["commit_time"] = iso8601(*state_->commit_time);
    head["commit_time_ns"] = state_->commit_time->time_since_epoch().count();
  }
  head["items"] = plan_.items;
  head["version"] = HOTBACKUP_VERSION;
  Json& environments = head["environments"] = Json::array();
  for (const auto& body : state_->source->environments()) {
    const auto* entry = state_->group.environment(body.number);
    environments.push_back(Json{{"number", body.number.value},
                                {"name", body.name},
                                {"configured", body.configured},
                                {"match", printable(body.match)},
                                {"subdirectory", body.subdirectory},
                                {"path", entry->path},
                                {"map_bytes", body.map_bytes},
                                {"mode", body.mode},
                                {"owner", body.owner}});
    std::vector<std::string> kept;
    if (auto rules = state_->group.keep_local(body.configured)) kept = rules->texts();
    environments.back()["keep_local"] = kept;
  }
  return head;
}

// While a snapshot is held LMDB cannot use its old pages again: writers make the file longer.
Result<> Save::check_growth(const SaveLimits& limits) {
  State& state = *state_;
  state.growth = std::max(state.growth, state.source->growth());
  const std::uint64_t most =
      limits.growth_bytes_max != 0 ? limits.growth_bytes_max : state.free_bytes / 2;
  if (state.growth <= most) return {};
  return fail(ErrorCode::kNoSpace, "the data files grew by " + human_bytes(state.growth) +
                                       " while they were read, more than the limit of " +
                                       human_bytes(most) +
                                       ": save in a quieter hour, or with --max-growth");
}

Result<SaveReport> Save::write(Sink& sink, const SaveLimits& limits) {
  State& state = *state_;
  SaveReport report;
  report.head = head();
  HOTBACKUP_ASSIGN(auto writer, ContainerWriter::begin(sink, ContainerKind::kSave, report.head));
  SaveFrames frames(state.group.id(), plan_.position.epoch);
  Progress progress("saving " + std::string(state.group.layout().group_name), plan_.items);
  std::string block;
  std::uint64_t raw_bytes = 0;
  for (const auto& body : state.source->environments())
    frames.add(block, journal::FrameKind::kEnvironment, body.number,
               update::write_environment(body));
  master::SeedSource::Part part;
  for (;;) {
    HOTBACKUP_ASSIGN(const bool more, state.source->next(part));
    if (more) frames.add(block, journal::FrameKind::kUpdate, part.environment, part.body);
    if (block.size() >= kBlockRawBytes || (!more && !block.empty())) {
      HOTBACKUP_TRY(check_growth(limits));
      raw_bytes += block.size();
      HOTBACKUP_TRY(writer->add(BlockKind::kFrames, std::move(block)));
      block = {};
      block.reserve(kBlockRawBytes + update::kBodyBytesTarget * 2);
    }
    progress.at(state.source->given(), writer->bytes());
    if (!more) break;
  }
  Json& end = report.end;
  Json files = Json::array();
  if (state.settings != nullptr)
    HOTBACKUP_TRY(write_carried_files(state.settings->files, *writer, files));
  end["items"] = state.source->given();
  end["frames"] = frames.count();
  end["raw_bytes"] = raw_bytes;
  end["growth_bytes"] = state.growth;
  end["seconds"] = progress.elapsed().count();
  Json environments = Json::array();
  std::vector<std::string> names;
  for (std::size_t i = 0; i < state.source->digests().size(); ++i) {
    const auto& body = state.source->environments()[i];
    names.push_back(body.name);
    environments.push_back(
        Json{{"number", body.number.value}, {"databases", describe(state.source->digests()[i])}});
  }
  end["content_hash"] = content_hash(names, state.source->digests());
  end["environments"] = std::move(environments);
  end["files"] = std::move(files);
  HOTBACKUP_TRY(writer->end(end));
  sink.describe(report.head, end);
  report.bytes = writer->bytes();
  return report;
}

Json describe(const lmdb::ContentDigest& digest) {
  Json all = Json::array();
  for (const auto& database : digest)
    all.push_back(Json{{"main", database.main},
                       {"name", printable(database.name)},
                       {"flags", database.flags},
                       {"items", database.items},
                       {"hash", database.sum.to_hex()}});
  return all;
}

std::string content_hash(const std::vector<std::string>& environments,
                         const std::vector<lmdb::ContentDigest>& digests) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < digests.size(); ++i) {
    lmdb::ContentDigest sorted = digests[i];
    std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
      return std::tie(b.main, a.name) < std::tie(a.main, b.name);
    });
    lines.push_back(environments[i] + describe(sorted).dump());
  }
  std::sort(lines.begin(), lines.end());
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  return hash128(all).to_hex();
}

}  // namespace hotbackup::resync
