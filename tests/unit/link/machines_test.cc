// SPDX-License-Identifier: Apache-2.0
// Property: whatever the order of steps and wherever the link is cut, the slave's journal is the
// master's history from the seed on: each update once, in order, whole; and acknowledgements never
// say more than is there.
#include <cstring>

#include "tests/unit/link/history.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

const SenderMachine::Time kNow{};

/// What a slave's disk keeps between links.
struct SlaveDisk {
  Position position;                // of the last whole update
  std::vector<std::string> frames;  // of all whole updates since the seed
  std::vector<std::string> partial;
  UpdateNumber seeded_at;
  std::string seed;  // content as received
  UpdateNumber applied;
};

/// Bytes on their way in one direction.
class Pipe {
 public:
  void put(const wire::Message& message) { bytes_ += wire::encode(message); }
  bool empty() const { return bytes_.empty(); }
  void deliver(std::size_t size, wire::MessageReader& reader) {
    size = std::min(size, bytes_.size());
    std::memcpy(reader.prepare(size), bytes_.data(), size);
    reader.commit(size);
    bytes_.erase(0, size);
  }

 private:
  std::string bytes_;
};

class Simulation {
 public:
  explicit Simulation(unsigned seed) : random_(seed) {
    disk_.position = history_.at(UpdateNumber(0));
    grow();
  }

  void run() {
    for (int round = 0; round < 12; ++round) {
      run_link(/*cut_after=*/1 + random_() % 400);
      check_disk();
    }
    run_link(100'000);
    check_disk();
    CHECK(disk_.position == history_.at(history_.made()));
  }

 private:
  struct Link {
    Link(const History& history) : sender(sender_options(history), kNow), receiver({}, kNow) {}
    SenderMachine sender;
    ReceiverMachine receiver;
    Pipe down;
    Pipe up;
    wire::MessageReader slave_reader{wire::kMessageBytesMax};
    wire::MessageReader master_reader{wire::kMessageBytesMax};
    std::vector<slave::Work> work;
    UpdateNumber next_number;  // the master's reading place
    std::size_t next_part = 0;
    int seed_parts = 0;
  };

  void grow() {
    const int count = 1 + static_cast<int>(random_() % 5);
    for (int i = 0; i < count; ++i) {
      std::vector<std::string> bodies(1 + (random_() % 4 == 0 ? random_() % 5 : 0));
      for (std::string& body : bodies) body.assign(random_() % 300, static_cast<char>(random_()));
      history_.add(bodies);
    }
  }

  void run_link(std::size_t steps) {
    Link link(history_);
    for (std::size_t step = 0; step < steps; ++step) {
      if (steps < 1000 && random_() % 50 == 0) grow();
      switch (random_() % 7) {
        case 0:
          move_sender_output(link);
          break;
        case 1:
          move_receiver_output(link);
          break;
        case 2:
          deliver_down(link);
          break;
        case 3:
          deliver_up(link);
          break;
        case 4:
          feed(link);
          break;
        case 5:
          do_work(link);
          break;
        case 6:
          apply(link);
          break;
      }
      if (steps >= 1000 && link.sender.phase() == SenderMachine::Phase::kStreaming &&
          link.sender.applied() == history_.made())
        break;
    }
    disk_.partial.clear();  // the link was cut: drop_partial
  }

  void move_sender_output(Link& link) {
    if (auto message = link.sender.next_output(kNow)) {
      link.down.put(*message);
      link.sender.written(kNow);
    }
  }

  void move_receiver_output(Link& link) {
    if (auto message = link.receiver.next_output(kNow)) {
      link.up.put(*message);
      link.receiver.written(kNow);
    }
  }

  void deliver_down(Link& link) {
    link.down.deliver(1 + random_() % 700, link.slave_reader);
    while (true) {
      auto message = link.slave_reader.next();
      REQUIRE(message);
      if (!*message) return;
      auto work = link.receiver.receive(std::move(**message), kNow);
      REQUIRE_MESSAGE(work, work.error().text());
      if (*work) link.work.push_back(std::move(**work));
    }
  }

  void deliver_up(Link& link) {
    link.up.deliver(1 + random_() % 100, link.master_reader);
    while (true) {
      auto message = link.master_reader.next();
      REQUIRE(message);
      if (!*message) return;
      auto received = link.sender.receive(std::move(**message), kNow);
      REQUIRE_MESSAGE(received, received.error().text());
      // An acknowledgement is a promise (rule R4).
      CHECK(link.sender.journaled() <= disk_.position.number);
      CHECK(link.sender.applied() <= disk_.applied);
    }
  }

  void feed(Link& link) {
    switch (link.sender.phase()) {
      case SenderMachine::Phase::kComparing: {
        const UpdateNumber number = link.sender.peer_position().number;
        REQUIRE(link.sender.compare(history_.made(), history_.at(number)));
        return;
      }
      case SenderMachine::Phase::kSeedWanted:
        link.sender.begin_seed({history_.at(history_.made()), {}, 0});
        link.seed_parts = static_cast<int>(random_() % 4);
        return;
      case SenderMachine::Phase::kSeeding:
        if (link.seed_parts-- > 0) {
          link.sender.seed_part({EnvironmentNumber(1), "part"});
        } else {
          link.sender.end_seed(0);
        }
        return;
      case SenderMachine::Phase::kStreaming:
        return feed_frames(link);
      default:
        return;
    }
  }

  void feed_frames(Link& link) {
    if (link.next_number.value == 0) link.next_number = link.sender.sent().next();
    std::string frames;
    const std::size_t target = random_() % 1000;
    while (link.sender.wants_frames() && link.next_number <= history_.made()) {
      const auto& parts = history_.parts(link.next_number);
      frames += parts[link.next_part++];
      if (link.next_part == parts.size()) {
        link.next_part = 0;
        link.next_number = link.next_number.next();
      }
      if (frames.size() > target) break;
    }
    if (!frames.empty())
      link.sender.add_frames(std::move(frames), link.next_number.previous(), link.next_part == 0);
  }

  void do_work(Link& link) {
    if (link.work.empty()) return;
    slave::Work work = std::move(link.work.front());
    link.work.erase(link.work.begin());
    if (std::holds_alternative<wire::Hello>(work)) {
      link.receiver.welcome(welcome_at(disk_.position, disk_.applied), std::chrono::seconds(2));
    } else if (auto* frames = std::get_if<slave::CheckedFrames>(&work)) {
      journal(*frames);
      link.receiver.journaled(frames->through);
    } else if (auto* begin = std::get_if<wire::SeedBegin>(&work)) {
      CHECK(disk_.position.number.value == 0);
      seed_position_ = begin->at;
    } else if (std::holds_alternative<wire::SeedEnd>(work)) {
      disk_.position = seed_position_;
      disk_.applied = disk_.seeded_at = seed_position_.number;
      link.receiver.seeded();
    }
  }

  void journal(const slave::CheckedFrames& checked) {
    const auto each =
        slave::for_each_frame(checked.frames, [this](const journal::FrameView& frame) -> Result<> {
          disk_.partial.emplace_back(frame.bytes);
          if (!frame.header.last_part) return {};
          for (std::string& bytes : disk_.partial) disk_.frames.push_back(std::move(bytes));
          disk_.partial.clear();
          disk_.position = {frame.header.epoch, frame.header.number,
                            journal::chain_after(frame.bytes)};
          return {};
        });
    REQUIRE(each);
  }

  void apply(Link& link) {
    if (link.receiver.phase() != ReceiverMachine::Phase::kStreaming) return;
    if (disk_.applied < disk_.position.number && random_() % 2 == 0)
      disk_.applied = UpdateNumber(disk_.applied.value + 1 +
                                   random_() % (disk_.position.number.value - disk_.applied.value));
    link.receiver.applied(disk_.applied);
  }

  void check_disk() {
    std::vector<std::string> expected;
    for (std::uint64_t n = disk_.seeded_at.value + 1; n <= disk_.position.number.value; ++n)
      for (const std::string& frame : history_.parts(UpdateNumber(n))) expected.push_back(frame);
    CHECK(disk_.frames == expected);
    CHECK(disk_.position == history_.at(disk_.position.number));
  }

  std::mt19937 random_;
  History history_;
  SlaveDisk disk_;
  Position seed_position_;
};

}  // namespace

TEST_CASE("over links cut anywhere every update arrives exactly once, whole and in order") {
  for (unsigned seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    Simulation(seed).run();
  }
}
