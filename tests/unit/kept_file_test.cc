#include "observe/kept_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "tests/catch.h"
#include "tests/unit/fake_files.h"

using namespace pm;
using pm::test::FakeFiles;

TEST_CASE("each read sees the file as it is now, with one open") {
  FakeFiles files;
  files.set("/f", "one");
  KeptFile file;
  char text[8];
  CHECK(file.load(files.functions(), "/f", text, sizeof text) == 3);
  files.set("/f", "three");
  CHECK(file.load(files.functions(), "/f", text, sizeof text) == 5);
  CHECK(files.opens == 1);
  file.close(files.functions());
  CHECK(files.open_count() == 0);
}

TEST_CASE("a descriptor that was closed is opened again") {
  FakeFiles files;
  files.set("/f", "one");
  KeptFile file;
  char text[8];
  file.load(files.functions(), "/f", text, sizeof text);
  files.close_all();
  CHECK(file.read(files.functions(), text, sizeof text) == -EBADF);
  CHECK(file.load(files.functions(), "/f", text, sizeof text) == 3);
  CHECK(files.opens == 2);
}

TEST_CASE("a descriptor that is somebody else's is neither read nor closed") {
  FakeFiles files;
  files.set("/f", "one");
  KeptFile file;
  char text[8];
  file.load(files.functions(), "/f", text, sizeof text);
  auto foreign = files.take_over_all();
  CHECK(file.load(files.functions(), "/f", text, sizeof text) == 3);
  CHECK(std::string(text, 3) == "one");
  file.close(files.functions());
  CHECK(files.open_count() == 1);
  CHECK(foreign->foreign_uses == 0);

  file.load(files.functions(), "/f", text, sizeof text);
  foreign = files.take_over_all();
  file.close(files.functions());
  CHECK(foreign->foreign_uses == 0);
  CHECK(files.open_count() == 2);
}

TEST_CASE("a file that fails is closed, and errors come back") {
  FakeFiles files;
  KeptFile file;
  char text[8];
  CHECK(file.load(files.functions(), "/f", text, sizeof text) == -ENOENT);
  files.set("/f", "one").open_error = -EACCES;
  CHECK(file.load(files.functions(), "/f", text, sizeof text) == -EACCES);
  files.set("/f", "one").open_error = 0;
  CHECK(file.load(files.functions(), "/f", text, sizeof text) == 3);
  files.remove("/f");
  CHECK(file.load(files.functions(), "/f", text, sizeof text) == -ENODEV);
  CHECK_FALSE(file.is_open());
  CHECK(files.open_count() == 0);
}

TEST_CASE("the kernel's files: high descriptors, closed on exec, identity follows the file") {
  const os::FileFunctions& files = os::files();
  char path[] = "/tmp/poolmalloc_keptXXXXXX";
  const int made = mkstemp(path);
  REQUIRE(made >= 0);
  REQUIRE(write(made, "12\n", 3) == 3);
  KeptFile file;
  char text[8];
  CHECK(file.load(files, path, text, sizeof text) == 3);
  CHECK(file.descriptor() >= 200);
  CHECK((fcntl(file.descriptor(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(file.load(files, path, text, sizeof text) == 3);

  // The program closes it and gets a pipe under the same number.
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const int number = file.descriptor();
  REQUIRE(dup2(ends[0], number) == number);
  REQUIRE(write(ends[1], "x", 1) == 1);
  CHECK(file.load(files, path, text, sizeof text) == 3);
  CHECK(file.descriptor() != number);
  char byte = 0;
  CHECK((read(number, &byte, 1) == 1 && byte == 'x'));
  file.close(files);
  CHECK(fcntl(number, F_GETFD) >= 0);

  CHECK(file.load(files, "/nonexistent/file", text, sizeof text) == -ENOENT);
  close(number);
  close(ends[0]);
  close(ends[1]);
  close(made);
  unlink(path);
}
