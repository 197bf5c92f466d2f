#include "preload/launcher/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace pm {
namespace {

bool fail(const std::string& what, const std::string& path) {
  std::fprintf(stderr, "poolmalloc: %s %s: %s\n", what.c_str(), path.c_str(), std::strerror(errno));
  return false;
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

bool close_after(int fd, bool so_far) {
  const int error = errno;
  if (close(fd) != 0) return false;
  errno = error;
  return so_far;
}

// The mode that open() would have given: mkstemp's files are private.
bool set_usual_mode(int fd) {
  const mode_t mask = umask(0);
  umask(mask);
  return fchmod(fd, 0666 & ~mask) == 0;
}

bool write_beside(const std::string& path, std::string_view text) {
  std::string beside = path + ".XXXXXX";
  const int fd = mkstemp(beside.data());
  if (fd < 0) return false;
  const bool whole = close_after(fd, write_all(fd, text) && set_usual_mode(fd) && fsync(fd) == 0);
  if (whole && rename(beside.c_str(), path.c_str()) == 0) return true;
  const int error = errno;
  unlink(beside.c_str());
  errno = error;
  return false;
}

bool write_straight(const std::string& path, std::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  return fd >= 0 && close_after(fd, write_all(fd, text));
}

}  // namespace

int print_output(std::string_view text, int code) {
  errno = EIO;  // of what failed before, only that it did is known
  const bool whole = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (whole && std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  fail("cannot write to", "stdout");
  return 1;
}

bool write_output(const std::string& path, std::string_view text) {
  if (path.empty() || path == "-") return print_output(text) == 0;
  struct stat status;
  const bool is_special = stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
  // Through symbolic links, so that the file they name is replaced and not the link.
  std::error_code error;
  const std::string real = std::filesystem::weakly_canonical(path, error).string();
  const bool written = is_special ? write_straight(path, text) : write_beside(error ? path : real, text);
  return written ? true : fail("cannot write", path);
}

bool read_input(const std::string& path, std::string& text) {
  const bool is_stdin = path == "-";
  const int fd = is_stdin ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail("cannot read", path);
  text.clear();
  char buffer[1 << 16];
  ssize_t count;
  while ((count = read(fd, buffer, sizeof buffer)) != 0) {
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    text.append(buffer, static_cast<size_t>(count));
  }
  const int error = errno;
  if (!is_stdin) close(fd);
  errno = error;
  return count == 0 ? true : fail("cannot read", path);
}

}  // namespace pm
