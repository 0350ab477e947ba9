// SPDX-License-Identifier: Apache-2.0
// Runs a command as after a reboot, in a mount namespace of its own: another disk lies where the
// nodes were, and the kernel shows another boot id. Needs root.
//
//   crash_new_boot DISK ROOT BOOT_ID_FILE -- COMMAND…
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static int put_over(const char* what, const char* node, const char* root) {
  char from[1024], to[1024];
  snprintf(from, sizeof from, "%s/%s", what, node);
  snprintf(to, sizeof to, "%s/%s", root, node);
  return mount(from, to, NULL, MS_BIND, NULL);
}

int main(int argc, char** argv) {
  if (argc < 6 || strcmp(argv[4], "--") != 0) return 2;
  if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
      put_over(argv[1], "paris", argv[2]) != 0 || put_over(argv[1], "lyon", argv[2]) != 0 ||
      mount(argv[3], "/proc/sys/kernel/random/boot_id", NULL, MS_BIND, NULL) != 0) {
    perror("crash_new_boot");
    return 125;
  }
  execvp(argv[5], argv + 5);
  perror(argv[5]);
  return 126;
}
