// SPDX-License-Identifier: Apache-2.0
// Whose files and directories are. A group's user and mode hold whoever makes a file first and with
// whatever umask: an unprivileged server, root's tools, the application itself.
#pragma once

#include <string>

#include "common/os/file.h"

namespace hotbackup::os {

/// Gives a file or directory that this process has made its mode and owner, as far as it may: only
/// a process with CAP_CHOWN gives files away, any other can still hand them to a group it is in.
/// Set-user-id and set-group-id never count. Mode first, since afterwards it is somebody else's.
void give(int fd, const Permissions& permissions);

/// The same by name, for files that may not be opened and closed (LMDB's lock file). Only a regular
/// file or directory of this process's own user, with one name: in a directory that others may
/// write, anything else may have been put there to be given away.
void give(const std::string& path, const Permissions& permissions);

/// Lets the users of a group reach what lies below a directory that is for its owner and group
/// only: they may pass, not list. By an access control list; where the file system has none, or for
/// a group without a user (uid -1), everybody may pass. Whoever may pass already changes nothing.
Result<> allow_passage(const std::string& directory, const Permissions& permissions);

/// Whether a process of this user and group may pass through a directory.
bool may_pass(const std::string& directory, const Permissions& permissions);

}  // namespace hotbackup::os
