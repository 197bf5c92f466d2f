// Asks a running process on poolmalloc over its control channel (src/control/channel.h).
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_CONTROL_CLIENT_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_CONTROL_CLIENT_H_

#include <sys/types.h>

#include <string>

namespace pm {

struct ControlReply {
  bool ok;
  // If ok, what stands behind "ok"; else one line for the user that says what is wrong, and what to do about it.
  std::string text;
  std::string lines;  // the rest of the reply, each line with its newline
};

// One request, as in src/control/verbs.def, with a descriptor if `fd` is not -1. Believes nobody but the process
// itself: the kernel tells who listens. Waits at most `seconds` for the reply. What comes is plain text, whoever sent
// it.
ControlReply ask(pid_t pid, const std::string& request, int fd = -1, unsigned seconds = 30);

// Why nobody answers for the process, in one line, as far as /proc tells.
std::string why_silent(pid_t pid);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_CONTROL_CLIENT_H_
