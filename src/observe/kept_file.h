// A file that stays open and is read from its beginning again and again, in a process whose program may close every
// descriptor and reuse the number: before each use the descriptor's identity is compared with what was opened, and one
// that has become somebody else's is forgotten, neither read nor closed. (Between the comparison and the use another
// thread can still swap it, as with every library; a worker with descriptors of its own, by
// close_range(CLOSE_RANGE_UNSHARE), is free of that.)
//
// Not synchronised: one thread at a time.
#pragma once

#include "os/files.h"

namespace pm {

class KeptFile {
 public:
  // Opens the path unless a descriptor is held. Returns 0 or -errno.
  int open(const os::FileFunctions& files, const char* path, os::OpenMode mode = os::OpenMode::read);
  // Takes over a descriptor.
  void adopt(const os::FileFunctions& files, int fd);
  // Reads from the beginning. Bytes, or -errno; -EBADF if there is none or it was taken from us: it is forgotten then.
  long read(const os::FileFunctions& files, char* buffer, size_t size);
  // Opens if need be, reads, and opens once more if the descriptor was taken from us. Bytes or -errno; a file that
  // failed is closed.
  long load(const os::FileFunctions& files, const char* path, char* buffer, size_t size);
  // Still what was opened? If not, it is forgotten.
  bool verify(const os::FileFunctions& files);
  void close(const os::FileFunctions& files);

  bool is_open() const { return fd_ >= 0; }
  int descriptor() const { return fd_; }

 private:
  int fd_ = -1;
  os::FileIdentity identity_;
};

}  // namespace pm
