// SPDX-License-Identifier: Apache-2.0
// The slave's side of a link as a state machine: messages and time in, messages and work out. No
// I/O, no clock, no thread, so that tests and the simulator drive the real code. docs/protocol.md.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <variant>

#include "common/journal/frame.h"
#include "common/wire/message.h"

namespace hotbackup::slave {

/// Frames that follow on from all before them; `through` is the last whole update in them.
struct CheckedFrames {
  std::string frames;
  UpdateNumber through;
};

/// What a message asks the owner of the machine to do.
using Work = std::variant<wire::Hello, wire::SeedBegin, wire::SeedPart, wire::SeedEnd,
                          CheckedFrames, wire::Probe, wire::Rewind, wire::FetchEnd>;

/// One link from one master, from hello to the end. Whoever owns it carries messages and does the
/// work it hands out, in order. After any error the link is over: what output is left (a refusal)
/// is sent if possible, then the link is closed. Nothing that was journaled depends on it.
class ReceiverMachine {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct Options {
    std::chrono::milliseconds check_period{2000};
    std::chrono::milliseconds greeting_limit{5000};
    std::chrono::milliseconds stall_limit{30'000};
  };

  enum class Phase {
    kGreeting,   // waits for the master's hello
    kChecking,   // the owner decides on the hello: welcome() or refuse()
    kVerdict,    // waits for stream, seed, rewind or refusal; the owner answers probes: agree()
    kRewinding,  // the owner keeps what only this node has, and asks: fetch() or rewound()
    kFetching,   // parts of an answer arrive
    kSeeding,    // parts arrive
    kSeedEnded,  // the owner makes the copy durable: seeded()
    kStreaming,
    kOver,
  };

  ReceiverMachine(Options options, Time now);

  Phase phase() const { return phase_; }

  /// A message, and what it asks for.
  Result<std::optional<Work>> receive(wire::Message message, Time now);

  /// After a hello that was found good. `welcome.journaled` is what is synced in this journal.
  void welcome(wire::Welcome welcome, std::chrono::milliseconds check_period);
  /// Ends the link with a reason that the peer is told.
  Error refuse(wire::RefuseReason reason, ErrorCode code, std::string text, const Epoch& epoch = {},
               const std::string& master = {});

  /// The answer to a probe.
  void agree(const wire::Agree& agree);
  /// Asks for what undoes something; its answer arrives as parts and an end.
  void fetch(wire::Fetch fetch);
  /// The journal ends at the common position: the link is to be closed, and begun anew.
  void rewound();

  /// The seed is durable; `at` is the position it began with.
  void seeded();
  /// Synced in the journal through this number: an acknowledgement follows.
  void journaled(UpdateNumber number);
  /// Visible in every copy through this number.
  void applied(UpdateNumber number);

  /// While the owner does not read from the link the master cannot be heard: its silence does not
  /// count.
  void set_reading(bool reading, Time now);

  /// The next message for the peer; after it is on its way, written(). The time in a heartbeat is
  /// left to the owner.
  std::optional<wire::Message> next_output(Time now);
  void written(Time now);
  /// A message was taken and is not written yet.
  bool writing() const { return writing_since_.has_value(); }
  Result<> tick(Time now);

  const wire::Hello& peer() const { return hello_; }
  UpdateNumber journaled() const { return journaled_; }
  UpdateNumber applied() const { return applied_; }
  /// The last whole update that was received.
  UpdateNumber received() const { return received_; }
  /// The master's published number as it said last, at least received().
  UpdateNumber published() const { return published_; }

 private:
  Result<std::optional<Work>> on_hello(wire::Hello hello);
  Result<std::optional<Work>> on_stream(const wire::Stream& stream);
  Result<std::optional<Work>> on_seed_begin(wire::SeedBegin begin);
  Result<std::optional<Work>> on_rewind(const wire::Rewind& rewind);
  Result<std::optional<Work>> on_frames(wire::Frames frames);
  tl::unexpected<Error> unexpected(const wire::Message& message) const;
  std::chrono::milliseconds silence_limit() const;

  Options options_;
  Phase phase_ = Phase::kGreeting;
  wire::Hello hello_;
  Position position_;  // where the stream goes on
  std::optional<journal::FrameSequence> sequence_;
  UpdateNumber received_;
  UpdateNumber published_;
  UpdateNumber journaled_;
  UpdateNumber applied_;
  UpdateNumber visible_;  // as the owner said; ≥ applied_
  bool acknowledge_ = false;
  std::int64_t echo_ns_ = 0;

  std::optional<wire::Message> reply_;  // to what was asked, or a question: always the next output
  bool heartbeat_ = false;
  bool echo_due_ = false;
  std::optional<Time> writing_since_;
  bool reading_ = true;
  const Time begun_;
  Time heard_;
  Time said_;
};

/// Calls `visit` for each frame of a row of whole frames; kCorrupt where the bytes are none.
Result<> for_each_frame(std::string_view frames,
                        const std::function<Result<>(const journal::FrameView&)>& visit);

}  // namespace hotbackup::slave
