#include "observe/kept_file.h"

#include <cerrno>

namespace pm {

int KeptFile::open(const os::FileFunctions& files, const char* path, os::OpenMode mode) {
  if (fd_ >= 0) return 0;
  const int fd = files.open(files.context, path, mode);
  if (fd < 0) return fd;
  adopt(files, fd);
  return 0;
}

void KeptFile::adopt(const os::FileFunctions& files, int fd) {
  fd_ = fd;
  identity_ = files.identify(files.context, fd);
}

long KeptFile::read(const os::FileFunctions& files, char* buffer, size_t size) {
  return verify(files) ? files.read(files.context, fd_, buffer, size) : -EBADF;
}

long KeptFile::load(const os::FileFunctions& files, const char* path, char* buffer, size_t size) {
  long result = read(files, buffer, size);
  if (result == -EBADF) {
    result = open(files, path);
    if (result == 0) result = read(files, buffer, size);
  }
  if (result < 0) close(files);
  return result;
}

bool KeptFile::verify(const os::FileFunctions& files) {
  if (fd_ < 0) return false;
  const os::FileIdentity now = files.identify(files.context, fd_);
  if (now.kind == os::FileKind::none || !(now == identity_)) fd_ = -1;
  return fd_ >= 0;
}

void KeptFile::close(const os::FileFunctions& files) {
  if (verify(files)) files.close(files.context, fd_);
  fd_ = -1;
}

}  // namespace pm
