// Files for the tests of file heaps.
#ifndef POOLMALLOC_TESTS_UNIT_SCRATCH_FILE_H_
#define POOLMALLOC_TESTS_UNIT_SCRATCH_FILE_H_

#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "page/file_extents.h"
#include "tests/expect.h"
#include "tests/scratch.h"

namespace pm::test {

inline FileSource unnamed_file(uint64_t bytes) {
  return {.path = scratch_directory(), .kind = os::FileOrigin::unnamed, .sync = false, .bytes = bytes};
}

// A path that does not exist yet; the file is removed at the end.
class ScratchPath {
 public:
  ScratchPath() : path_(std::string(scratch_directory()) + "/poolmalloc-test-" + std::to_string(getpid())) {
    unlink(path_.c_str());
  }
  ~ScratchPath() { unlink(path_.c_str()); }
  ScratchPath(const ScratchPath&) = delete;
  ScratchPath& operator=(const ScratchPath&) = delete;

  const char* c_str() const { return path_.c_str(); }
  FileSource source(uint64_t bytes, os::FileOrigin kind = os::FileOrigin::fresh) const {
    return {.path = c_str(), .kind = kind, .sync = false, .bytes = bytes};
  }
  bool exists() const { return access(c_str(), F_OK) == 0; }

 private:
  std::string path_;
};

inline uint64_t blocks_of(int fd) {
  struct stat status;
  EXPECT(fstat(fd, &status) == 0);
  return static_cast<uint64_t>(status.st_blocks) * 512;
}

}  // namespace pm::test

#endif  // POOLMALLOC_TESTS_UNIT_SCRATCH_FILE_H_
