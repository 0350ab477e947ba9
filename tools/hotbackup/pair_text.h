// SPDX-License-Identifier: Apache-2.0
// What two nodes tell each other when they pair, and how it gets into the configuration: as a
// person would write it, in a file whose other lines and comments stay as they are.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/config/configuration.h"

namespace hotbackup::cli {

/// A group's shape as one node hands it to another: nothing that only one site should decide
/// (commands, hooks, saves), and only what is not the default.
struct GroupShape {
  struct Environment {
    std::string name;
    std::string path;
    std::vector<std::string> keep_local;
  };
  std::string name;
  std::map<std::string, std::string> settings;  // key to string value
  std::vector<Environment> environments;
};

struct Introduction {
  std::string node;
  std::string address;  // how the other is to dial it; empty: the host it is known by
  std::uint16_t port = 0;
  std::vector<GroupShape> groups;
};

/// Of the configured groups named in `only`, or all.
std::vector<GroupShape> shapes_of(const config::Configuration& configuration,
                                  const std::vector<std::string>& only);
std::string encode(const Introduction& introduction);
/// kProtocol for anything else; every name in it is one that the configuration may hold.
Result<Introduction> decode_introduction(std::string_view text);

struct NewPeer {
  std::string name;
  config::Address address;
  std::string fingerprint;
};

struct Edit {
  std::string text;                  // the whole file
  std::vector<std::string> changes;  // a line for a person each
};
/// The file with the peer in it, in each of the `groups` too, and with those groups that it lacks.
/// An existing fingerprint of the peer is replaced, existing addresses stay. kConfig where the
/// result would not be a configuration; it says what to write by hand.
Result<Edit> introduce(const std::string& text, const std::string& source, const NewPeer& peer,
                       const std::vector<GroupShape>& groups);

/// The beginning of a file for a node that has none.
std::string fresh_configuration(const std::string& node);

}  // namespace hotbackup::cli
