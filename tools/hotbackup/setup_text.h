// SPDX-License-Identifier: Apache-2.0
// From the environments that were found to the groups and the file that a person would write.
#pragma once

#include "tools/hotbackup/found_environments.h"

namespace hotbackup::cli {

/// One [[group.env]]: an environment, or a pattern for several files that belong together.
struct ProposedEnvironment {
  std::string name;
  std::string path;
  std::size_t files = 1;
};

/// What belongs together: one user, one program. A directory is in one group only.
struct ProposedGroup {
  std::string name;
  std::string user;
  mode_t mode = 0;
  std::uint64_t bytes = 0;
  std::vector<ProposedEnvironment> environments;
  std::vector<Holder> holders;  // each program once
};

struct ProposedPeer {
  std::string name;
  std::string address;
  std::string fingerprint;
};

std::vector<ProposedGroup> propose_groups(const std::vector<FoundEnvironment>& found);

/// The TOML text. `listen` only where it is not the default.
std::string write_configuration(const std::string& node, const std::string& state,
                                const std::string& listen, const std::vector<ProposedPeer>& peers,
                                const std::vector<ProposedGroup>& groups);

/// Letters, digits and '-', at most 40: what a name in the file may be made of.
std::string usable_name(const std::string& text);

}  // namespace hotbackup::cli
