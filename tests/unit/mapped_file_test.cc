#include "os/mapped_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>

#include "base/bits.h"
#include "os/memory.h"
#include "os/process.h"
#include "tests/unit/fresh_process.h"
#include "tests/unit/scratch_file.h"

namespace {

using namespace pm;
using os::FileOrigin;
using os::mapped_file_functions;
using test::blocks_of;
using test::in_fresh_process;
using test::ScratchPath;

int opened(const char* path, FileOrigin kind) {
  const long fd = mapped_file_functions().open(path, kind);
  EXPECT(fd >= 0);
  EXPECT((fcntl(static_cast<int>(fd), F_GETFD) & FD_CLOEXEC) != 0);
  return static_cast<int>(fd);
}

int unnamed() { return opened(scratch_directory(), FileOrigin::unnamed); }

TEST_CASE("a fresh file must not exist, an existing one must") {
  in_fresh_process([] {
    const ScratchPath path;
    EXPECT(mapped_file_functions().open(path.c_str(), FileOrigin::existing) == -ENOENT);
    os::close_file(opened(path.c_str(), FileOrigin::fresh));
    EXPECT(mapped_file_functions().open(path.c_str(), FileOrigin::fresh) == -EEXIST);
    os::close_file(opened(path.c_str(), FileOrigin::existing));
    struct stat status;
    EXPECT(stat(path.c_str(), &status) == 0 && (status.st_mode & 0777) == 0600);
  });
}

TEST_CASE("what is no regular file, or not there, is refused") {
  in_fresh_process([] {
    EXPECT(mapped_file_functions().open("/dev/null", FileOrigin::existing) == -EINVAL);
    EXPECT(mapped_file_functions().open(scratch_directory(), FileOrigin::existing) == -EISDIR);
    EXPECT(mapped_file_functions().open("/no/such/directory", FileOrigin::unnamed) == -ENOENT);
    EXPECT(mapped_file_functions().open("/no/such/directory/file", FileOrigin::fresh) == -ENOENT);
    const ScratchPath path;
    os::close_file(opened(path.c_str(), FileOrigin::fresh));
    EXPECT(mapped_file_functions().open(path.c_str(), FileOrigin::unnamed) == -ENOTDIR);
  });
}

TEST_CASE("one user at a time") {
  in_fresh_process([] {
    const ScratchPath path;
    const int fd = opened(path.c_str(), FileOrigin::fresh);
    EXPECT(mapped_file_functions().open(path.c_str(), FileOrigin::existing) == -EBUSY);
    os::close_file(fd);
    os::close_file(opened(path.c_str(), FileOrigin::existing));
  });
}

TEST_CASE("an unnamed file leaves no name, by either way") {
  in_fresh_process([] {
    const long ways[] = {unnamed(), os::open_and_unlink(scratch_directory())};
    for (const long fd : ways) {
      struct stat status;
      EXPECT(fd >= 0 && fstat(static_cast<int>(fd), &status) == 0 && status.st_nlink == 0);
    }
    EXPECT(os::open_and_unlink("/no/such/directory") == -ENOENT);
    char longest[5000];
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = 0;
    EXPECT(os::open_and_unlink(longest) == -ENAMETOOLONG);
  });
}

TEST_CASE("the state is the length and what tells the file from others") {
  in_fresh_process([] {
    const int fd = unnamed();
    const int other = unnamed();
    EXPECT(mapped_file_functions().resize(fd, 12345) == 0);
    os::MappedFileState state = {};
    os::MappedFileState different = {};
    EXPECT(mapped_file_functions().state(fd, state) == 0 && state.bytes == 12345);
    EXPECT(mapped_file_functions().state(other, different) == 0);
    EXPECT(state.device != different.device || state.inode != different.inode);
    os::close_file(fd);
    EXPECT(mapped_file_functions().state(fd, state) == -EBADF);
  });
}

// The default action of SIGXFSZ would end the process.
TEST_CASE("a length beyond the limit is refused without a signal") {
  in_fresh_process([] {
    const int fd = unnamed();
    const rlimit limit = {kMiB, kMiB};
    EXPECT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    EXPECT(mapped_file_functions().resize(fd, kMiB) == 0);
    EXPECT(mapped_file_functions().resize(fd, kMiB + 1) == -EFBIG);
    EXPECT(mapped_file_functions().resize(fd, UINT64_MAX) == -EFBIG);
  });
}

TEST_CASE("blocks are reserved, mapped, and punched") {
  in_fresh_process([] {
    constexpr size_t kBytes = 40 * kMiB;  // three pieces
    const int fd = unnamed();
    EXPECT(mapped_file_functions().resize(fd, kBytes) == 0 && blocks_of(fd) < kMiB);
    EXPECT(mapped_file_functions().reserve(fd, kMiB, kBytes - kMiB) == 0);
    EXPECT(blocks_of(fd) >= kBytes - kMiB);
    os::MappedFileState state = {};
    EXPECT(mapped_file_functions().state(fd, state) == 0 && state.bytes == kBytes);

    const uintptr_t start = address_of(os::memory().reserve(0, kBytes));
    EXPECT(start != 0 && mapped_file_functions().map(fd, start, kBytes, false) == 0);
    auto* const memory = reinterpret_cast<char*>(start);
    memory[0] = 1;
    memory[kBytes - 1] = 2;
    char byte = 0;
    EXPECT(pread(fd, &byte, 1, kBytes - 1) == 1 && byte == 2);
    const long result = mapped_file_functions().punch(start, kBytes);
    EXPECT(result == 0 || result == -EOPNOTSUPP);
    if (result == 0) EXPECT(memory[0] == 0 && memory[kBytes - 1] == 0 && blocks_of(fd) < kMiB);
    EXPECT(mapped_file_functions().punch(start + kBytes, 4096) != 0);
  });
}

TEST_CASE("zeros are written to the range and not beyond") {
  in_fresh_process([] {
    constexpr size_t kBytes = 300'000;
    const int fd = unnamed();
    static char text[kBytes];
    memset(text, 'x', kBytes);
    EXPECT(pwrite(fd, text, kBytes, 0) == kBytes);
    EXPECT(os::write_zeros(fd, 10'000, 200'001) == 0);
    EXPECT(pread(fd, text, kBytes, 0) == kBytes);
    for (size_t i = 0; i < kBytes; ++i) EXPECT(text[i] == (i < 10'000 || i >= 210'001 ? 'x' : 0));
    EXPECT(os::write_zeros(-1, 0, 1) == -EBADF);
  });
}

TEST_CASE("durable stores are refused where there is no DAX") {
  in_fresh_process([] {
    const int fd = os::keep_file(fileno(tmpfile()));  // never on DAX: the C library's temporary directory
    EXPECT(mapped_file_functions().resize(fd, kMiB) == 0);
    const uintptr_t start = address_of(os::memory().reserve(0, kMiB));
    const long result = mapped_file_functions().map(fd, start, kMiB, true);
    EXPECT(result == -EOPNOTSUPP || result == 0);
    if (result == 0) reinterpret_cast<char*>(start)[0] = 1;
  });
}

TEST_CASE("tests may replace the functions") {
  static const os::MappedFileFunctions kNone = {};
  os::set_mapped_file_functions(&kNone);
  CHECK(&mapped_file_functions() == &kNone);
  os::set_mapped_file_functions(nullptr);
  CHECK(mapped_file_functions().open != nullptr);
}

}  // namespace
