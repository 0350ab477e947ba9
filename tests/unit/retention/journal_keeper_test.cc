// SPDX-License-Identifier: Apache-2.0
#include "common/retention/journal_keeper.h"

#include <fstream>
#include <random>

#include "common/journal/segment.h"
#include "tests/unit/master/group_on_disk.h"

using namespace hotbackup;
using namespace hotbackup::retention;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kSegment = 64 * 1024;  // three updates of kBody each
constexpr std::size_t kBody = 18'000;

/// A master's group whose journal has many small segments; counts what is synced.
class Kept {
 public:
  explicit Kept(Rules rules) : fixture_(kSegment), rules_(std::move(rules)) {
    if (rules_.peers.empty()) rules_.peers = {"lyon"};
    keeper_.emplace(group(), rules_, [this](const std::string& path) {
      synced_.push_back(path);
      return sync_result_;
    });
  }
  control::Group& group() { return fixture_.group(); }
  void append(int many, WallTime when = wall_now(), std::size_t body_bytes = kBody) {
    for (int i = 0; i < many; ++i) {
      journal::PendingUpdate update(group().journal_directory());
      update.body().append(body_bytes, 'b');
      journal::FrameHeader fields;
      fields.commit_time = when;
      auto lock = group().journal().lock();
      REQUIRE(group().journal().append(*lock, update, fields));
    }
    REQUIRE(group().journal().sync_through(group().made()));
  }
  std::vector<Segment> segments() { return *segments_of(group()); }
  std::vector<std::string> tidy() {
    auto done = keeper_->tidy();
    if (!done) FAIL(done.error().text());
    return *done;
  }
  JournalKeeper& keeper() { return *keeper_; }
  Position at(std::uint64_t number) {
    return *journal::position_at(group().journal_directory(), group().id(), UpdateNumber(number));
  }
  /// The slave has acknowledged this over a link that streams.
  void acknowledge(const std::string& peer, std::uint64_t number) {
    control::PeerEntry* entry = group().peer(peer);
    entry->journaled.store(number);
    group().set_link(*entry, control::LinkState::kStreaming);
  }
  test::GroupOnDisk fixture_;
  Rules rules_;
  std::optional<JournalKeeper> keeper_;
  std::vector<std::string> synced_;
  Result<> sync_result_;
};

Rules rules(std::optional<std::uint64_t> segments_max = std::nullopt,
            config::AtJournalLimit at_limit = config::AtJournalLimit::kForgetSlave) {
  Rules rules;
  if (segments_max) rules.limit_bytes = *segments_max * kSegment;
  rules.at_limit = at_limit;
  return rules;
}

}  // namespace

TEST_CASE("segments go when nobody needs them and they are old enough, the active one never") {
  Rules young = rules();
  young.keep = 1h;
  Kept kept(young);
  kept.append(12);
  const std::size_t all = kept.segments().size();
  REQUIRE(all == 4);
  kept.tidy();
  CHECK(kept.segments().size() == all);
  kept.keeper_.emplace(kept.group(), rules(), JournalKeeper::sync_data_file);
  kept.tidy();
  CHECK(kept.segments().size() == 1);
  CHECK(kept.fixture_.append(100) == UpdateNumber(13));
}

TEST_CASE("a claim pins the journal from the next update on, also across a reboot") {
  Kept kept(rules());
  kept.append(12);
  const auto segments = kept.segments();
  // The last update of the second segment is not there yet: both of its neighbours matter.
  REQUIRE(hold(kept.group(), "lyon", kept.at(segments[1].last.value - 1)));
  kept.tidy();
  CHECK(kept.segments().front().first == segments[1].first);
  kept.group().peer("lyon")->journaled.store(0);  // what a reboot leaves of the control file
  kept.tidy();
  CHECK(kept.segments().front().first == segments[1].first);
  REQUIRE(hold(kept.group(), "lyon", kept.at(segments[1].last.value)));
  kept.tidy();
  CHECK(kept.segments().front().first == segments[2].first);
}

TEST_CASE("a claim moves on with what a streaming slave acknowledges, a segment at a time") {
  Kept kept(rules());
  kept.append(12);
  const auto segments = kept.segments();
  REQUIRE(hold(kept.group(), "lyon", kept.at(1)));
  kept.acknowledge("lyon", 2);
  kept.tidy();
  CHECK(claim_of(kept.group(), "lyon")->at.number == UpdateNumber(1));
  kept.acknowledge("lyon", segments[1].first.value);
  kept.tidy();
  CHECK(claim_of(kept.group(), "lyon")->at == kept.at(segments[1].first.value));
  CHECK(kept.segments().front().first == segments[1].first);
  // What a link says before its history was compared moves nothing.
  kept.group().set_link(*kept.group().peer("lyon"), control::LinkState::kConnected);
  kept.group().peer("lyon")->journaled.store(12);
  kept.tidy();
  CHECK(kept.segments().front().first == segments[1].first);
}

TEST_CASE("no trim passes a pin, whatever the order of appends, acknowledgements and claims") {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto below = [&](std::uint64_t n) { return std::uint64_t{random() % n}; };
    Rules rule = rules();
    rule.peers = {"lyon", "nantes", "metz"};
    rule.archive = below(2) == 0;
    Kept kept(rule);
    for (int step = 0; step < 25; ++step) {
      kept.append(1 + static_cast<int>(below(4)));
      const std::uint64_t made = kept.group().made().value;
      const std::string& peer = rule.peers[below(3)];
      const auto claim = claim_of(kept.group(), peer);
      switch (below(6)) {
        case 0:
          if (!claim) REQUIRE(hold(kept.group(), peer, kept.at(made)));
          break;
        case 1:
          REQUIRE(hold_for_seed(kept.group(), peer, UpdateNumber(made)));
          break;
        case 2:
          if (claim && claim->holds() && below(4) == 0) REQUIRE(forget(kept.group(), peer));
          break;
        case 3:
          REQUIRE(change_record(kept.group(), [&](Record& record) {
            record.archived =
                UpdateNumber(record.archived.value + below(made - record.archived.value + 1));
          }));
          break;
        default:
          if (claim && !claim->needs_seed)
            kept.acknowledge(peer,
                             claim->at.number.value + below(made - claim->at.number.value + 1));
      }
      const auto before = kept.segments();
      kept.tidy();
      const auto record = *read_record(kept.group());
      const std::uint64_t first = kept.segments().front().first.value;
      for (const Claim& one : record.claims)
        if (one.holds()) CHECK(first <= one.holds()->value + 1);
      if (rule.archive) CHECK(first <= record.archived.value + 1);
      CHECK(kept.segments().back().first == before.back().first);
      // And what may go does go: the oldest segment is held by somebody.
      if (kept.segments().size() > 1)
        CHECK(holds(kept.group(), rule, record).front().through < kept.segments().front().last);
    }
  }
}

TEST_CASE("every environment's data file is synced before a segment goes, and only then") {
  Kept kept(rules());
  std::ofstream(kept.fixture_.data("users")) << "";
  REQUIRE(kept.group().join(kept.fixture_.data("users"), false));
  kept.append(2);
  kept.tidy();
  CHECK(kept.synced_.empty());
  kept.append(10);
  kept.tidy();
  CHECK(kept.synced_ == std::vector<std::string>{kept.fixture_.data("users")});
  CHECK(kept.segments().size() == 1);
}

TEST_CASE("what could not be synced keeps its segments for good, and is an incident") {
  Kept kept(rules());
  std::ofstream(kept.fixture_.data("users")) << "";
  REQUIRE(kept.group().join(kept.fixture_.data("users"), false));
  kept.append(12);
  const std::size_t before = kept.segments().size();
  kept.sync_result_ = fail(ErrorCode::kIo, "the disk is broken", EIO);
  CHECK_FALSE(kept.keeper().tidy());
  CHECK(kept.segments().size() == before);
  CHECK(kept.group().incidents().find("HB-environment-sync-failed", "users"));
  kept.sync_result_ = {};  // the next fdatasync says yes although the page is lost
  CHECK_FALSE(kept.keeper().tidy());
  CHECK(kept.segments().size() == before);
}

TEST_CASE("an open commit keeps its segment: its void word may still have to be set") {
  Kept kept(rules());
  std::ofstream(kept.fixture_.data("users")) << "";
  auto entry = *kept.group().join(kept.fixture_.data("users"), false);
  kept.append(12);
  const auto segments = kept.segments();
  entry->slot.number.store(segments[1].first.value);
  kept.tidy();
  CHECK(kept.segments().front().first == segments[1].first);
}

TEST_CASE("keep_journal counts from when a segment was closed, not from its last write") {
  Rules short_time = rules();
  short_time.keep = 1h;
  Kept kept(short_time);
  kept.append(6, WallTime{});
  kept.tidy();
  REQUIRE(kept.segments().size() == 1);
  // Last written long ago, and closed only now, by the update that begins the next segment.
  kept.append(1, wall_now(), 60'000);
  REQUIRE(kept.segments().size() == 2);
  REQUIRE(begin_of(kept.group(), kept.segments()[1]));
  kept.tidy();
  CHECK(kept.segments().size() == 2);
  kept.keeper_.emplace(kept.group(), rules(), JournalKeeper::sync_data_file);
  kept.tidy();
  CHECK(kept.segments().size() == 1);
}

TEST_CASE("at the limit history that nobody needs goes first, although it is young") {
  Rules rule = rules(3);
  rule.keep = 1000h;
  Kept kept(rule);
  REQUIRE(hold(kept.group(), "lyon", {}));
  kept.append(18);
  REQUIRE(hold(kept.group(), "lyon", kept.at(16)));
  CHECK(kept.tidy().empty());
  CHECK(bytes_of(kept.segments()) + kSegment <= 3 * kSegment);
  CHECK_FALSE(kept.group().incidents().find("HB-journal-limit"));
  CHECK_FALSE(claim_of(kept.group(), "lyon")->needs_seed);
}

TEST_CASE("at the limit the slave that holds most is released, and only as many as it takes") {
  Rules rule = rules(4);
  rule.peers = {"lyon", "nantes"};
  Kept kept(rule);
  kept.append(18);
  REQUIRE(hold(kept.group(), "lyon", kept.at(2)));
  REQUIRE(hold(kept.group(), "nantes", kept.at(14)));
  CHECK(kept.tidy() == std::vector<std::string>{"lyon"});
  CHECK(kept.group().incidents().find("HB-slave-forgotten", "lyon"));
  CHECK_FALSE(kept.group().incidents().find("HB-slave-forgotten", "nantes"));
  CHECK(claim_of(kept.group(), "lyon")->needs_seed);
  CHECK(claim_of(kept.group(), "nantes")->holds() == UpdateNumber(14));
  CHECK(kept.segments().front().first <= UpdateNumber(15));
}

TEST_CASE("no slave is released for what the archive holds") {
  Rules rule = rules(3);
  rule.archive = true;
  Kept kept(rule);
  kept.append(18);
  REQUIRE(hold(kept.group(), "lyon", kept.at(9)));
  const std::size_t before = kept.segments().size();
  CHECK(kept.tidy().empty());
  CHECK(kept.segments().size() == before);
  CHECK_FALSE(claim_of(kept.group(), "lyon")->needs_seed);
  const auto incident = kept.group().incidents().find("HB-journal-limit");
  REQUIRE(incident);
  CHECK(incident->text.find("archive") != std::string::npos);
}

TEST_CASE("alarm only tells, and the incident goes when there is room") {
  Kept kept(rules(3, config::AtJournalLimit::kAlarm));
  REQUIRE(kept.keeper().publish_limit());
  kept.append(1);
  REQUIRE(hold(kept.group(), "lyon", kept.at(1)));
  kept.append(20);
  kept.tidy();
  kept.tidy();
  const auto incident = kept.group().incidents().find("HB-journal-limit");
  REQUIRE(incident);
  CHECK(incident->text.find("slave lyon, which has update 1") != std::string::npos);
  CHECK(incident->count == 1);
  kept.append(3);
  kept.acknowledge("lyon", kept.group().made().value);
  kept.tidy();
  CHECK_FALSE(kept.group().incidents().find("HB-journal-limit"));
}

TEST_CASE("refuse: an update that would need more is refused until there is room") {
  Kept kept(rules(3, config::AtJournalLimit::kRefuse));
  REQUIRE(kept.keeper().publish_limit());
  kept.append(1);
  REQUIRE(hold(kept.group(), "lyon", kept.at(1)));
  control::Group& group = kept.group();
  const auto append = [&]() -> Result<journal::Appended> {
    journal::PendingUpdate update(group.journal_directory());
    update.body().append(kBody, 'b');
    auto lock = group.journal().lock();
    return group.journal().append(*lock, update, {});
  };
  int appended = 1;
  Result<journal::Appended> last = append();
  for (; last; last = append()) {
    ++appended;
    REQUIRE(appended < 20);
    kept.tidy();
  }
  CHECK(last.error().code() == ErrorCode::kNoSpace);
  CHECK(last.error().os_error() == 0);
  CHECK(appended == 9);  // three whole segments
  CHECK(bytes_of(kept.segments()) == 3 * kSegment);
  CHECK(group.made() == UpdateNumber(9));
  // After a reboot it is refused before any server runs.
  CHECK(control::read_group_file(group.directory())->journal_bytes_max == 3 * kSegment);
  REQUIRE(group.journal().sync_through(group.made()));
  {
    auto lock = group.journal().lock();  // a control frame is not refused
    CHECK(group.journal().append_control(*lock, journal::FrameKind::kEpoch, std::string(kBody, 'e'),
                                         {}));
  }
  REQUIRE(group.journal().sync_through(group.made()));
  kept.acknowledge("lyon", 9);
  kept.tidy();
  CHECK(append());
  CHECK_FALSE(group.incidents().find("HB-journal-limit"));
}
