// SPDX-License-Identifier: Apache-2.0
// hotbackup pair: two nodes come to know each other by a short code that is used once.
#include <unistd.h>

#include <asio/io_context.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/identity/identity.h"
#include "common/net/connector.h"
#include "common/net/deadline.h"
#include "common/net/task_group.h"
#include "common/os/file.h"
#include "common/service/doorkeeper.h"
#include "tools/hotbackup/command.h"
#include "tools/hotbackup/command_log.h"
#include "tools/hotbackup/pair_exchange.h"
#include "tools/hotbackup/pair_text.h"

namespace hotbackup::cli {
namespace {

using Json = nlohmann::ordered_json;
using Side = net::TcpStream::Side;

constexpr std::uint16_t kDefaultPort = 2000;
constexpr int kPortsTried = 20;
constexpr std::chrono::milliseconds kConnectLimit{10'000};

struct PairOptions {
  bool listen = false;
  std::string host;
  std::string code;
  std::string name;
  std::string address;
  std::vector<std::string> groups;
  std::string timeout = "10 min";
};

/// This node's side of a pairing, in the order of its steps.
class Pairing {
 public:
  Pairing(const Session& session, const PairOptions& options)
      : session_(session), options_(options) {}

  Result<int> run();

 private:
  Result<> prepare();
  asio::awaitable<void> body();
  asio::awaitable<Result<>> pair();
  asio::awaitable<Result<>> wait_for_call(std::optional<net::TcpStream>& stream);
  asio::awaitable<Result<>> take_calls(std::optional<net::TcpStream>& stream);
  asio::awaitable<Result<>> dial(std::optional<net::TcpStream>& stream);
  asio::awaitable<Result<>> introduce_each_other(net::TcpStream& stream);
  asio::awaitable<Result<>> probe_both_ways(net::TcpStream& stream);
  asio::awaitable<Result<>> tell_and_hear(net::TcpStream& stream, const std::string& said,
                                          std::string& heard);
  Result<> open_listener();
  void open_probe_listener();
  Result<> note_peer(const Introduction& theirs, const net::TcpStream& stream);
  Result<> write_file();
  void say(const std::string& line) const;
  Result<int> finish();

  const Session& session_;
  const PairOptions& options_;
  std::string path_;
  std::string text_;  // of the configuration
  bool fresh_ = false;
  config::Configuration configuration_;
  std::shared_ptr<net::TlsIdentity> key_;
  std::string code_;

  asio::io_context io_{1};
  std::optional<net::Listener> listener_;  // the called side's, then for probes
  NewPeer peer_;
  std::vector<std::string> shared_groups_;
  Edit edit_;
  std::string to_peer_;    // why it was not reached, or empty
  std::string from_peer_;  // the same as the peer says
  Result<> result_ = fail(ErrorCode::kCancelled, "not run");
};

// On the way; the result is the last thing on stdout.
void Pairing::say(const std::string& line) const {
  std::fprintf(session_.json ? stderr : stdout, "%s\n", line.c_str());
  std::fflush(session_.json ? stderr : stdout);
}

std::string host_name() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  std::string usable;
  for (const char* c = name; *c != '\0' && *c != '.' && usable.size() < 64; ++c)
    usable += std::isalnum(static_cast<unsigned char>(*c)) != 0 ? *c : '-';
  return usable.empty() || usable[0] == '-' ? "node" : usable;
}

Result<> Pairing::prepare() {
  path_ = session_.config_path.empty() ? config::default_path() : session_.config_path;
  auto found = os::read_file(path_);
  if (found) {
    text_ = std::move(*found);
  } else if (found.error().code() == ErrorCode::kNotFound) {
    text_ = fresh_configuration(options_.name.empty() ? host_name() : options_.name);
    fresh_ = true;
  } else {
    return fail(std::move(found).error());
  }
  HOTBACKUP_ASSIGN(configuration_, config::parse(text_, path_, config::Keys::kBeforePairing));
  if (!fresh_ && !options_.name.empty() && options_.name != configuration_.node.name)
    return fail(ErrorCode::kConfig,
                "this node is called " + configuration_.node.name + " in " + path_);
  for (const std::string& group : options_.groups)
    HOTBACKUP_TRY(config::find_group(configuration_, group));
  HOTBACKUP_ASSIGN(const auto identity, identity::load_or_create(configuration_.node.state));
  HOTBACKUP_ASSIGN(key_, net::TlsIdentity::make(identity));
  code_ = options_.listen ? make_code() : options_.code;
  if (code_digits(code_).empty())
    return fail(ErrorCode::kConfig, "'" + options_.code +
                                        "' is no code: nine digits, as hotbackup pair --listen "
                                        "prints them on the other node");
  return {};
}

// The slave server may have the node's own port: then the next one that is free.
Result<> Pairing::open_listener() {
  const config::Address& own = configuration_.node.listen;
  Result<> result;
  for (int i = 0; i < kPortsTried; ++i) {
    auto opened =
        net::Listener::open(io_.get_executor(), own.host, static_cast<std::uint16_t>(own.port + i));
    if (opened) {
      listener_.emplace(std::move(*opened));
      return {};
    }
    result = fail(std::move(opened).error());
  }
  return result;
}

// Where the slave server runs, it is what the peer reaches.
void Pairing::open_probe_listener() {
  const config::Address& own = configuration_.node.listen;
  if (listener_ && listener_->port() == own.port) return;
  listener_.reset();
  auto opened = net::Listener::open(io_.get_executor(), own.host, own.port);
  if (opened) listener_.emplace(std::move(*opened));
}

// One try for whoever proves that it does not know the code; noise costs nothing.
asio::awaitable<Result<>> Pairing::take_calls(std::optional<net::TcpStream>& stream) {
  while (true) {
    Result<> accepted = co_await listener_->accept(stream);
    if (!accepted) co_return accepted;
    const std::string digits = code_digits(code_);
    Result<> agreed = co_await agree(*stream, key_, Side::kCalled, digits);
    if (agreed) co_return agreed;
    const std::string who = stream->peer_address();
    stream->close();
    if (agreed.error().code() == ErrorCode::kCancelled) co_return agreed;
    if (agreed.error().code() == ErrorCode::kRefused)
      co_return fail(ErrorCode::kRefused,
                     who +
                         " has tried a wrong code, or somebody is between: this code is void; "
                         "type hotbackup pair --listen again for a new one");
    say(who + ": " + agreed.error().text());
  }
}

asio::awaitable<Result<>> Pairing::wait_for_call(std::optional<net::TcpStream>& stream) {
  auto limit = config::parse_duration(options_.timeout);
  if (!limit) co_return fail(std::move(limit).error());
  Result<> opened = open_listener();
  if (!opened) co_return opened;
  const std::string host = options_.address.empty() ? host_name() : options_.address;
  const std::string port = listener_->port() == kDefaultPort || !options_.address.empty()
                               ? ""
                               : ":" + std::to_string(listener_->port());
  say("code " + code_ + "  port " + std::to_string(listener_->port()));
  say("type on the other node: hotbackup pair " + host + port + " " + code_);
  auto taking = take_calls(stream);
  std::string late = "nobody has called with the code";
  co_return co_await net::within(*limit, std::move(late), std::move(taking));
}

asio::awaitable<Result<>> Pairing::dial(std::optional<net::TcpStream>& stream) {
  auto address = config::parse_address(options_.host, kDefaultPort);
  if (!address) co_return fail(std::move(address).error());
  Result<> done = co_await net::connect(address->host, address->port, kConnectLimit, stream);
  if (!done) co_return done;
  const std::string digits = code_digits(code_);
  done = co_await agree(*stream, key_, Side::kCaller, digits);
  if (done) co_return done;
  co_return fail(ErrorCode::kRefused,
                 "no agreement with " + options_.host + " (" + done.error().text() +
                     "): a wrong code, or somebody is between; the code is void, type hotbackup "
                     "pair --listen there again for a new one");
}

asio::awaitable<Result<>> Pairing::tell_and_hear(net::TcpStream& stream, const std::string& said,
                                                 std::string& heard) {
  Result<> sent = co_await send_text(stream, said);
  if (!sent) co_return sent;
  auto received = co_await receive_text(stream);
  if (!received) co_return fail(std::move(received).error());
  heard = std::move(*received);
  co_return Result<>();
}

Result<> Pairing::note_peer(const Introduction& theirs, const net::TcpStream& stream) {
  std::string host = stream.peer_host();
  if (!options_.listen) {
    HOTBACKUP_ASSIGN(const auto dialled, config::parse_address(options_.host, kDefaultPort));
    host = dialled.host;
  }
  peer_ = {theirs.node, {host, theirs.port}, stream.peer_fingerprint()};
  if (!theirs.address.empty()) {
    HOTBACKUP_ASSIGN(peer_.address, config::parse_address(theirs.address, theirs.port));
  }
  std::vector<GroupShape> groups = shapes_of(configuration_, options_.groups);
  for (const GroupShape& group : theirs.groups) {
    const bool own = std::any_of(groups.begin(), groups.end(),
                                 [&](const GroupShape& known) { return known.name == group.name; });
    if (!own) groups.push_back(group);
  }
  for (const GroupShape& group : groups) shared_groups_.push_back(group.name);
  auto edit = introduce(text_, path_, peer_, groups);
  if (!edit) return fail(std::move(edit).error());
  edit_ = std::move(*edit);
  return {};
}

// Both can write what they have to, or neither writes.
asio::awaitable<Result<>> Pairing::introduce_each_other(net::TcpStream& stream) {
  Introduction own{configuration_.node.name, options_.address, configuration_.node.listen.port,
                   shapes_of(configuration_, options_.groups)};
  std::string said = encode(own);
  std::string heard;
  Result<> done = co_await tell_and_hear(stream, said, heard);
  if (!done) co_return done;
  const auto theirs = decode_introduction(heard);
  if (!theirs) co_return fail(theirs.error());
  const Result<> noted = note_peer(*theirs, stream);
  said = noted ? "" : noted.error().text();
  done = co_await tell_and_hear(stream, said, heard);
  if (!noted) co_return noted;
  if (!done) co_return done;
  if (!heard.empty()) co_return fail(ErrorCode::kRefused, theirs->node + " cannot go on: " + heard);
  co_return write_file();
}

Result<> Pairing::write_file() {
  os::Permissions permissions;
  permissions.mode = 0644;
  if (edit_.text != text_ || fresh_)
    HOTBACKUP_TRY(os::replace_file(path_, edit_.text, permissions));
  return log_command(session_, configuration_.node.state);
}

// Roles reverse who dials: both directions have to work.
asio::awaitable<Result<>> Pairing::probe_both_ways(net::TcpStream& stream) {
  open_probe_listener();
  net::TaskGroup answering(io_.get_executor());
  if (listener_) answering.spawn(answer_probes(*listener_, key_, peer_.fingerprint));
  std::string heard;
  const std::string listening = "listening";
  Result<> done = co_await tell_and_hear(stream, listening, heard);
  if (done) {
    config::Peer peer{peer_.name, {peer_.address}, {peer_.fingerprint}, {}};
    std::optional<net::TcpStream> probe;
    Result<> reached =
        co_await net::connect(peer_.address.host, peer_.address.port, kConnectLimit, probe);
    if (reached) reached = co_await service::prove(*probe, key_, peer);
    if (!reached) to_peer_ = reached.error().text();
    done = co_await tell_and_hear(stream, to_peer_, from_peer_);
  }
  answering.cancel();
  (void)co_await answering.join();
  co_return done;
}

asio::awaitable<Result<>> Pairing::pair() {
  std::optional<net::TcpStream> stream;
  Result<> done;
  if (options_.listen)
    done = co_await wait_for_call(stream);
  else
    done = co_await dial(stream);
  if (done) done = co_await introduce_each_other(*stream);
  if (!done) co_return done;
  const Result<> probed = co_await probe_both_ways(*stream);
  if (!probed && to_peer_.empty()) to_peer_ = probed.error().text();
  stream->close();
  co_return done;
}

asio::awaitable<void> Pairing::body() {
  result_ = co_await pair();
}

Result<int> Pairing::finish() {
  const std::string own = configuration_.node.name;
  const bool both = to_peer_.empty() && from_peer_.empty();
  if (session_.json) {
    std::printf("%s\n", Json{{"peer", peer_.name},
                             {"fingerprint", peer_.fingerprint},
                             {"address", config::to_text(peer_.address)},
                             {"changes", edit_.changes},
                             {"groups", shared_groups_},
                             {"reaches_peer", to_peer_.empty()},
                             {"peer_reaches", from_peer_.empty()}}
                            .dump()
                            .c_str());
  } else {
    say("paired with " + peer_.name + " (" + peer_.fingerprint + ")");
    for (const std::string& change : edit_.changes) say(path_ + ": " + change);
    say(own + " → " + peer_.name + " at " + config::to_text(peer_.address) + ": " +
        (to_peer_.empty() ? "reached" : to_peer_));
    say(peer_.name + " → " + own + ": " + (from_peer_.empty() ? "reached" : from_peer_));
    say("servers that run take it at their next reload");
    for (const std::string& group : shared_groups_)
      say("next, where it is not done yet: hotbackup init " + group + " --role " +
          (options_.listen ? "master" : "slave"));
  }
  if (both) return kDone;
  std::fprintf(
      stderr,
      "hotbackup: HB-unreachable: the nodes know each other, but not both reach the other: "
      "see to firewalls and 'address', roles reverse who dials\n");
  return kNeedsYou;
}

Result<int> Pairing::run() {
  HOTBACKUP_TRY(prepare());
  net::TaskGroup root(io_.get_executor());
  root.spawn(body());
  io_.run();
  if (!result_) return fail(std::move(result_).error());
  return finish();
}

}  // namespace

void add_pair(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "pair", "Two nodes come to know each other: --listen on one, HOST CODE on the other");
  auto options = std::make_shared<PairOptions>();
  auto* listen = command->add_flag("--listen", options->listen, "prints a code and waits");
  command->add_option("HOST", options->host, "the node that listens, with its port if not 2000")
      ->excludes(listen);
  command->add_option("CODE", options->code, "the code that it has printed")->excludes(listen);
  command->add_option("--group", options->groups, "only these groups (default: all)")
      ->type_name("GROUP");
  command->add_option("--name", options->name,
                      "this node's name where it has no configuration yet");
  command
      ->add_option("--address", options->address,
                   "how the other node is to dial this one (default: the address it sees)")
      ->type_name("HOST[:PORT]");
  command->add_option("--timeout", options->timeout, "how long --listen waits")
      ->type_name("DURATION");
  command->callback([&session, options] {
    if (!options->listen && options->code.empty())
      throw CLI::RequiredError("--listen, or HOST and CODE");
    session.action = [&session, options] { return Pairing(session, *options).run(); };
  });
}

}  // namespace hotbackup::cli
