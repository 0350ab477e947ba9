// SPDX-License-Identifier: Apache-2.0
// The master's side of a link as a state machine: messages and time in, messages and states out. No
// I/O, no clock, no thread, so that tests and the simulator drive the real code. docs/protocol.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "common/wire/message.h"

namespace hotbackup::master {

/// What is remembered of a slave, beside the journal.
struct KnownSlave {
  Position at;              // in this history, held by the slave once; number 0: nothing
  bool needs_seed = false;  // it was released: what follows is not kept for it
};

/// One link to one slave, from hello to the end. Whoever owns it carries messages between it and
/// the peer, and does what its phase asks for. After any error the link is over: what output is
/// left (a refusal) is sent if possible, then the link is closed.
class SenderMachine {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct Options {
    wire::Hello hello;
    std::string peer_name;
    std::chrono::milliseconds check_period{2000};
    std::chrono::milliseconds greeting_limit{5000};
    std::chrono::milliseconds stall_limit{30'000};  // a peer that does not read this long is closed
    std::uint64_t window_bytes = 16 << 20;          // sent and not acknowledged, in whole updates
    std::chrono::milliseconds stamp_period{0};      // of a lease; 0: none
  };

  enum class Phase {
    kGreeting,    // waits for the slave's welcome
    kComparing,   // the owner looks up peer_position().number in the journal and calls compare()
    kProbing,     // the owner looks up probe_numbers() in the journal and calls probe()
    kProbed,      // waits for the slave's answer
    kRewinding,   // the slave keeps what only it has, and asks; nothing to do
    kFetching,    // the owner answers fetch(): fetch_part() … end_fetch()
    kSeedWanted,  // the owner begins a seed when it can: begin_seed()
    kSeeding,     // the owner sends parts: seed_part() … end_seed()
    kSeedSent,    // waits until the slave has the seed durably
    kStreaming,   // the owner adds frames while wants_frames()
    kOver,
  };

  SenderMachine(Options options, Time now);

  Phase phase() const { return phase_; }

  Result<> receive(wire::Message message, Time now);

  /// The slave's position as it said in its welcome.
  const Position& peer_position() const { return peer_position_; }
  /// `here` is this journal's position at the peer's number: kGap when the journal begins later,
  /// kNotFound when it ends before. The verdict is the next phase, or an error with a refusal: kGap
  /// when history is missing and the slave's copy is not known to be a prefix of it.
  Result<> compare(UpdateNumber published, const Result<Position>& here,
                   const KnownSlave& known = {});

  /// Of these the owner gives the positions; ascending, the first is the lowest that may be common.
  std::vector<UpdateNumber> probe_numbers() const;
  /// `oldest`: the lowest number of which this journal knows the position. kGap, with a refusal,
  /// where it has turned out that the histories part before that.
  void search_from(UpdateNumber oldest) { agreed_ = {{}, oldest.previous(), {}}; }
  void probe(std::vector<Position> positions);
  /// What the slave asks for; valid in phase kFetching.
  const wire::Fetch& fetch() const { return fetch_; }
  bool wants_fetch_part() const { return output_bytes_ < kOutputBytesMax; }
  void fetch_part(wire::SeedPart part);
  void end_fetch(const Position& at);
  /// From phase kRewinding on: the last position that both have.
  const Position& common() const { return agreed_; }
  /// The slave's numbers are those of this history; before the verdict nobody knows.
  bool shares_history() const {
    return phase_ == Phase::kSeedWanted || phase_ == Phase::kSeeding ||
           phase_ == Phase::kSeedSent || phase_ == Phase::kStreaming;
  }
  /// The slave's journal ends at the common position: the next link will stream.
  bool rewound() const { return rewound_; }

  void begin_seed(wire::SeedBegin begin);
  void seed_part(wire::SeedPart part);
  void end_seed(std::uint64_t items);
  /// There is room for another piece of a seed.
  bool wants_seed() const { return phase_ == Phase::kSeeding && output_bytes_ < kOutputBytesMax; }

  /// There is room for frames: little waits to be written, and the window is open or the last
  /// update is not whole yet (only its last part can be acknowledged).
  bool wants_frames() const;
  /// Whole frames that follow on from those before; `through` is the last whole update in them.
  void add_frames(std::string frames, UpdateNumber through, bool at_boundary);

  /// To be told to the slave with the next heartbeat.
  void set_published(const Position& published) { published_ = published; }

  /// Why the peer has refused, if it has.
  std::optional<wire::RefuseReason> refusal() const { return refusal_; }
  /// The newest epoch that a refusal told of, and whose; counter 0: none.
  const Epoch& told_epoch() const { return told_epoch_; }
  const std::string& told_master() const { return told_master_; }
  /// The stamp of a heartbeat that the peer has received; 0: none yet.
  std::int64_t echo_ns() const { return echo_ns_; }
  /// What the peer said last of its way to this node's slave server, as control::WayHome.
  std::uint32_t way_home() const { return way_home_; }

  /// Ends the link with a reason that the peer is told.
  Error refuse(wire::RefuseReason reason, ErrorCode code, std::string text);

  /// The next message for the peer; after it is on its way, written(). The time in a heartbeat is
  /// left to the owner.
  std::optional<wire::Message> next_output(Time now);
  void written(Time now);
  /// A message was taken and is not written yet.
  bool writing() const { return writing_since_.has_value(); }
  /// Nothing waits to be written.
  bool drained() const { return output_.empty() && !writing(); }

  /// To be called at least twice a check period. kTimeout when the peer is silent or does not read.
  Result<> tick(Time now);

  /// sent ≥ journaled ≥ applied, as far as this link knows.
  UpdateNumber sent() const { return sent_; }
  UpdateNumber journaled() const { return journaled_; }
  UpdateNumber applied() const { return applied_; }
  const wire::Welcome& peer() const { return welcome_; }

 private:
  static constexpr std::uint64_t kOutputBytesMax = 2 << 20;

  Result<> on_welcome(wire::Welcome welcome);
  Result<> diverged(UpdateNumber published, std::string why);
  Result<> on_agree(const wire::Agree& agree);
  Result<> on_fetch(wire::Fetch fetch);
  Result<> on_rewound();
  Result<> on_numbers(UpdateNumber journaled, UpdateNumber applied);
  Result<> on_acknowledge(const wire::Acknowledge& numbers);
  Result<> unexpected(const wire::Message& message) const;
  void put(wire::Message message, std::size_t bytes = 64);
  std::chrono::milliseconds silence_limit() const;

  const Options options_;
  Phase phase_ = Phase::kGreeting;
  std::optional<wire::RefuseReason> refusal_;
  Epoch told_epoch_;
  std::string told_master_;
  std::int64_t echo_ns_ = 0;
  std::uint32_t way_home_ = 0;
  wire::Welcome welcome_;
  Position peer_position_;
  Position published_;
  UpdateNumber sent_;
  UpdateNumber journaled_;
  UpdateNumber applied_;

  // The search for the last common position: at agreed_ or later, before differs_.
  Position agreed_;
  UpdateNumber differs_;
  bool agreed_known_ = false;
  std::vector<Position> probed_;
  wire::Fetch fetch_;
  bool rewound_ = false;

  struct Sent {
    UpdateNumber through;
    std::uint64_t bytes;
  };
  std::deque<Sent> unacknowledged_;
  std::uint64_t unacknowledged_bytes_ = 0;
  std::uint64_t open_bytes_ = 0;  // added since, of an update whose last part was not added yet
  bool in_update_ = false;

  struct Output {
    wire::Message message;
    std::size_t bytes;
  };
  std::deque<Output> output_;
  std::uint64_t output_bytes_ = 0;
  std::size_t writing_bytes_ = 0;
  std::optional<Time> writing_since_;

  const Time begun_;
  Time heard_;
  Time said_;
  std::optional<Time> stamped_;
};

}  // namespace hotbackup::master
