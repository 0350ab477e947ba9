// SPDX-License-Identifier: Apache-2.0
// What a wrong file is told: place and reason, in one line.
#include <doctest/doctest.h>

#include "common/config/configuration.h"

namespace hotbackup::config {
namespace {

std::string refusal(std::string_view text) {
  const auto parsed = parse(text, "t.toml");
  CAPTURE(text);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().code() == ErrorCode::kConfig);
  CHECK(parsed.error().text().find('\n') == std::string::npos);
  return parsed.error().text();
}

const std::string kNode = "[node]\nname = 'a'\n";
const std::string kPeer = kNode + "[[peer]]\nname = 'b'\naddress = ['127.0.0.1:2001']\n";
const std::string kGroup = kPeer + "[[group]]\nname = 'g'\n";             // next line: 8
const std::string kEnvironment = kGroup + "[[group.env]]\nname = 'e'\n";  // next line: 10

/// The text after `prefix`, refused, begins like this.
void refuses(const std::string& prefix, const std::string& text, const std::string& begin) {
  const std::string message = refusal(prefix + text);
  CAPTURE(message);
  CAPTURE(begin);
  CHECK(message.starts_with("t.toml:" + begin));
}

}  // namespace

TEST_CASE("an unknown key is refused with its place and the nearest known one") {
  CHECK(refusal(kGroup + "  prot = 1\n") == "t.toml:8:3: unknown key 'prot' in [[group]]");
  CHECK(refusal(kGroup + "modes = 1\n") ==
        "t.toml:8:1: unknown key 'modes' in [[group]] (did you mean 'mode'?)");
  refuses(kNode, "lisen = 'x'\n", "3:1: unknown key 'lisen' in [node] (did you mean 'listen'?)");
  refuses(kPeer, "port = 3\n", "6:1: unknown key 'port' in [[peer]]");
  refuses(kEnvironment, "user = 'x'\n", "10:1: unknown key 'user' in [[group.env]]");
  refuses(kGroup, "[group.saves]\nfull = 'off'\nintoo = []\n",
          "10:1: unknown key 'intoo' in [group.saves] (did you mean 'into'?)");
  refuses(kNode, "[[groups]]\n", "3:3: unknown key 'groups' in the file (did you mean 'group'?)");
  refuses(kNode, "[[notify]]\nto='syslog:'\nlevel=1\n", "5:1: unknown key 'level' in [[notify]]");
}

TEST_CASE("of several faults the first in the file is reported") {
  refuses(kNode, "listen = 1\nzzz = 2\nstate = 'x'\n", "3:10: 'listen' in [node]");
}

TEST_CASE("a wrong type is refused") {
  refuses("", "node = 3\n", "1:8: 'node' in the file: it is a whole number, but has to be a table");
  refuses("", "[[node]]\nname='a'\n", "1:1: 'node' in the file: it is an array");
  refuses("", "[node]\nname = 3\n", "2:8: 'name' in [node]: it is a whole number");
  refuses("", "[node]\nname = 2020-01-01\n", "2:8: 'name' in [node]: it is a date or time");
  refuses(kNode, "[peer]\nname='b'\n", "3:1: 'peer' in the file: it is a table, but has to be");
  refuses(kNode, "[[peer]]\nname='b'\naddress='127.0.0.1'\n", "5:9: 'address' in [[peer]]");
  refuses(kGroup, "peers = ['b', 3]\n", "8:15: 'peers' in [[group]]: it is a whole number");
  refuses(kGroup, "mode = 0o660\n", "8:8: 'mode' in [[group]]: it is a whole number");
  refuses(kGroup, "loss_limit = 0\n", "8:14: 'loss_limit' in [[group]]");
  refuses(kGroup, "check_period = 2.5\n", "8:16: 'check_period' in [[group]]: it is a number");
  refuses(kGroup, "test_period = false\n", "8:15: 'test_period' in [[group]]: it is true or false");
  refuses(kGroup, "env = 'x'\n", "8:7: 'env' in [[group]]: it is a string");
  refuses(kNode, "group = [1]\n", "3:1: unknown key 'group' in [node]");
  refuses("group = [1]\n", kNode, "1:10: 'group' in the file: it is a whole number");
  refuses(kGroup, "[group.reports]\nx = 1\n", "9:5: 'x' in [group.reports]");
}

TEST_CASE("a missing required key is refused at its table") {
  refuses("", "", "1:1: the file has no 'node'");
  refuses("", "[node]\n", "1:1: [node] has no 'name'");
  refuses(kNode, "[[group]]\n", "3:1: [[group]] has no 'name'");
  refuses(kNode, "[[peer]]\n", "3:1: [[peer]] has no 'name'");
  refuses(kGroup, "[[group.env]]\npath='/a'\n", "8:1: [[group.env]] has no 'name'");
  refuses(kNode, "[[notify]]\n", "3:1: [[notify]] has no 'to'");
}

TEST_CASE("a name serves once among its kind") {
  refuses(kPeer, "[[peer]]\nname = 'b'\n", "7:8: 'name' in [[peer]]: the name 'b' is used twice");
  refuses(kPeer, "[[peer]]\nname = 'a'\n", "7:8: 'name' in [[peer]]: the name 'a' is used twice");
  refuses(kGroup, "[[group]]\nname = 'g'\n", "9:8: 'name' in [[group]]");
  refuses(kEnvironment, "[[group.env]]\nname = 'e'\n", "11:8: 'name' in [[group.env]]");
  refuses(kEnvironment, "path='/d/x*'\n[[group.env]]\nname = 'e-12'\n", "12:8: 'name' in");
  refuses(kGroup, "[[group.env]]\nname = 'e-1'\n[[group.env]]\nname = 'e'\npath='/d/x*'\n",
          "11:8: 'name' in");
  CHECK(parse(kEnvironment + "[[group]]\nname = 'h'\n[[group.env]]\nname = 'e'\n", "t"));
  CHECK(parse(kEnvironment + "[[group.env]]\nname = 'e-1'\n", "t"));
  refuses("", "[node]\nname = 'a_b'\n", "2:8: 'name' in [node]: 'a_b' is not a name");
}

TEST_CASE("rules that contradict each other are refused") {
  refuses(kGroup, "peers = ['c']\n", "8:10: 'peers' in [[group]]: no [[peer]] is called 'c'");
  refuses(kGroup, "peers = ['a']\n", "8:10: 'peers' in [[group]]: 'a' is this node");
  refuses(kGroup, "peers = ['b', 'b']\n", "8:15: 'peers' in [[group]]: 'b' stands there twice");
  refuses(kGroup, "acknowledge = 1\n", "8:15: 'acknowledge' in [[group]]: it is more than");
  refuses(kGroup, "journal_limit = '1 MB'\n", "8:17: 'journal_limit' in [[group]]: it is less");
  refuses(kGroup, "journal_limit = '67 MB'\n", "8:17: 'journal_limit' in [[group]]: it is less");
  refuses(kGroup, "at_journal_limit = 'stop'\n", "8:20: ");
  refuses(kGroup, "archive = 'cp /a /b'\n", "8:11: 'archive' in [[group]]: it names no segment");
  refuses(kGroup, "archive = 'cp %q'\n", "8:11: 'archive' in [[group]]: '%' stands before p");
  refuses(kGroup, "archive = 'cp %p %'\n", "8:11: ");
  refuses(kEnvironment, "path='/d'\n[[group.env]]\nname='f'\npath='/d/'\n", "13:6: 'path' in");
  refuses(kEnvironment,
          "path='/d/x*'\n[[group]]\nname='h'\n[[group.env]]\nname='f'\npath='/d/y*'\n",
          "15:6: 'path' in [[group.env]]: '/d/x*' and '/d/y*' are in one directory");
  refuses(kPeer, "address = []\n", "6:11: ");  // TOML itself: a key twice
}

TEST_CASE("a value out of range is refused") {
  refuses(kGroup, "check_period = '0 s'\n",
          "8:16: 'check_period' in [[group]]: '0 s' is not allowed");
  refuses(kGroup, "check_period = 'off'\n", "8:16: ");
  refuses(kGroup, "check_period = '1 ms'\n", "8:16: ");
  refuses(kGroup, "check_period = '2 h'\n", "8:16: ");
  refuses(kGroup, "keep_journal = '0 h'\n", "8:16: ");
  refuses(kGroup, "segment_size = '0.5 MB'\n", "8:16: ");
  refuses(kGroup, "segment_size = '1025 MB'\n", "8:16: ");
  refuses(kGroup, "segment_size = 'off'\n", "8:16: ");
  refuses(kGroup, "acknowledge = 0\n", "8:15: ");
  refuses(kGroup, "acknowledge = 'some'\n", "8:15: ");
  refuses(kGroup, "mode = '0440'\n", "8:8: ");
  refuses(kGroup, "user = 'a:b'\n", "8:8: ");
  refuses(kGroup, "files = ['x']\n", "8:10: ");
  refuses(kGroup, "rejoin = 'never'\n", "8:10: 'rejoin' in [[group]]: 'never' is not one of 'ask'");
  refuses(kGroup, "wait_for = 'sent'\n", "8:12: ");
  refuses(kNode, "listen = 'off'\nstate = '/'\n", "4:9: ");
  refuses(kNode, "state = 'var/lib'\n",
          "3:9: 'state' in [node]: 'var/lib' is not an absolute path");
  refuses(kNode, "heartbeat_url = 'ftp://x'\n", "3:17: ");
  refuses(kNode, "[[notify]]\nto = 'ops@example.com'\n", "4:6: ");
  refuses(kEnvironment, "path = 'data'\n",
          "10:8: 'path' in [[group.env]]: 'data' is not an absolute");
  refuses(kEnvironment, "path = '/a/*/b'\n", "10:8: ");
}

TEST_CASE("only a loopback peer may leave its fingerprint out") {
  const std::string peer = kNode + "[[peer]]\nname = 'b'\n";
  refuses(peer, "address = ['b.example']\n", "3:1: [[peer]] has no 'fingerprint'");
  refuses(peer, "address = ['127.0.0.1', '10.0.0.1']\n", "3:1: [[peer]] has no 'fingerprint'");
  refuses("[node]\nname = 'a'\nlisten = '10.0.0.1'\n", "[[peer]]\nname = 'b'\n", "4:1: ");
  CHECK(parse(peer, "t"));
  refuses(peer, "fingerprint = []\n", "5:15: 'fingerprint' in [[peer]]: it is empty");
  for (const char* wrong :
       {"", "off", "SHA256:", "MD5:AAAA", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB",
        "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "SHA256:…"}) {
    refuses(peer, "fingerprint = '" + std::string(wrong) + "'\n",
            "5:15: 'fingerprint' in [[peer]]");
  }
  const std::string key = "fingerprint = 'SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'\n";
  refuses(peer + key, "[[peer]]\nname = 'c'\n" + key,
          "8:15: 'fingerprint' in [[peer]]: it stands there twice");
}

TEST_CASE("a promise that this version does not keep is refused") {
  for (const char* promise :
       {"env = [{name = 'e', capture = 'auto'}]", "env = [{name = 'e', capture = 'snapshot'}]",
        "env = [{name = 'e', durability = 'journal'}]"}) {
    const std::string message = refusal(kGroup + promise + "\n");
    CAPTURE(message);
    CHECK(message.starts_with("t.toml:8:"));
    CHECK(message.find("not in this version") != std::string::npos);
  }
}

TEST_CASE("saves that could not be made as they are written are refused") {
  const std::string saves = kGroup + "[group.saves]\n";
  refuses(saves, "full = 'daily 02:00'\n", "9:8: 'into' in [group.saves]: it names no directory");
  refuses(saves, "differential = '15 min'\n", "9:16: 'into' in [group.saves]: it names");
  refuses(saves, "into = ['saves']\n", "9:9: 'into' in [group.saves]");
  refuses(saves, "into = ['/a', '/a']\n", "9:15: 'into' in [group.saves]: '/a' stands there twice");
  refuses(saves, "full = '6 h'\ninto = ['/a']\nverify = 'app'\n",
          "11:10: 'verify' in [group.saves]");
  for (const char* wrong : {"daily", "daily 24:00", "daily 2:00", "daily 02:60", "daily 02:00 ",
                            "weekly 02:00", "weekly SUNDAY 02:00", "weekly SUN", "0 s", "often"})
    refuses(saves, "full = '" + std::string(wrong) + "'\n", "9:8: 'full' in [group.saves]");
}

TEST_CASE("commits do not wait for a slave that applies late by intention") {
  const std::string message = refusal(kGroup + "apply = '3 h'\nwait_for = 'applied'\n");
  CHECK(message.starts_with("t.toml:9:"));
  CHECK(message.find("the delay of 'apply', 3 h") != std::string::npos);
}

TEST_CASE("nonsense for such a promise is called what it is") {
  for (const char* nonsense :
       {"at_limit = 'panic'", "rejoin = 'seed'", "lease = 'long'", "apply = 'never'",
        "loss_limit = 'some'", "saves = {differential = 'x'}",
        "env = [{name = 'e', capture = 'magic'}]"}) {
    const std::string message = refusal(kGroup + nonsense + "\n");
    CAPTURE(message);
    CHECK(message.find(" is not ") != std::string::npos);
    CHECK(message.find("version") == std::string::npos);
  }
}

TEST_CASE("text that is not TOML is refused at its place") {
  refuses(kNode, "listen = \n", "3:");
  refuses(kNode, "listen = 'x\n", "3:");
  refuses(kNode, "[[group]\n", "3:");
  refuses(kNode, "[!group]\n", "3:2: ");
  refuses(kNode, "[[=]]\n", "3:3: ");
  refuses(kNode, "!x = 1\n", "3:1: ");
  refuses(kNode, "x.! = 1\n", "3:3: ");
  refuses(kNode, "x = \xff\n", "3:");
  refuses(kNode, std::string(5000, 'a') + " = 1\n", "3:4096: the line is too long");
  refuses(kNode, std::string("x\0y = 1\n", 8), "3:");
}

TEST_CASE("deep nesting is refused, and never exhausts the stack") {
  std::string key;
  for (int i = 0; i < 2000; ++i) key += "a.";
  const std::string value = "c = 1\n";
  refuses(kNode, key + value, "3:");
  refuses("[" + key + "b]\n" + key + value, "", "1:");
  refuses(kNode, "x = " + std::string(4000, '['), "3:");
  refuses(kNode, "x = " + std::string(4000, '{'), "3:");
  CHECK(refusal(kNode + key + value).find("too many levels") != std::string::npos);
}

}  // namespace hotbackup::config
