// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/command.h"

#include <utility>

namespace hotbackup::cli {

int exit_code(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kConfig:
      return kUsage;
    case ErrorCode::kFenced:
      return kWrongState;
    case ErrorCode::kTimeout:
      return kGaveUp;
    default:
      return kFailed;
  }
}

std::string error_line(const Error& error) {
  std::string code(error_code_name(error.code()));
  for (char& c : code)
    if (c == '_') c = '-';
  std::string text = error.text();
  for (char& c : text)
    if (c == '\n') c = ' ';
  return text.starts_with("HB-") ? text : "HB-" + code + ": " + text;
}

Result<config::Configuration> load_configuration(const Session& session) {
  return config::load(session.config_path.empty() ? config::default_path() : session.config_path);
}

Result<std::unique_ptr<control::Group>> open_group(const config::Configuration& configuration,
                                                   const config::Group& settings) {
  auto group = control::Group::open(group_directory(configuration, settings.name));
  const std::string hint = ": type hotbackup init " + settings.name + " --role master (or slave)";
  if (!group && group.error().code() == ErrorCode::kNotFound)
    return fail(ErrorCode::kFenced,
                "HB-not-initialised: group " + settings.name + " is not initialised here" + hint);
  if (!group) return fail(std::move(group).error().with_context("group " + settings.name));
  if ((*group)->role() == control::Role::kNone)
    return fail(ErrorCode::kFenced,
                "HB-not-initialised: group " + settings.name + " was unlinked" + hint);
  return group;
}

Result<std::unique_ptr<OpenGroup>> open_group(const Session& session, const std::string& name) {
  auto opened = std::make_unique<OpenGroup>();
  HOTBACKUP_ASSIGN(opened->configuration, load_configuration(session));
  HOTBACKUP_ASSIGN(opened->settings, config::find_group(opened->configuration, name));
  HOTBACKUP_ASSIGN(opened->group, open_group(opened->configuration, *opened->settings));
  return opened;
}

}  // namespace hotbackup::cli
