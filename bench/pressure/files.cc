// Fills the page cache of its memory group: writes a file and reads it again, over and over, for a while. The kernel
// can drop such pages when the group's limit is met, so they take nothing from the others; but they keep its usage near
// the limit.
//
// Operation: a mebibyte written or read.
#include "record.h"

int main(int argc, char** argv) {
  bench::Workload workload("files", argc, argv);
  const double length = workload.number("seconds", workload.smoke() ? 0.3 : 10);
  const size_t mebibytes = workload.count("mebibytes", workload.smoke() ? 8 : 300);
  const double rate = workload.number("rate", 200);  // mebibytes a second
  const double start = workload.number("start", bench::monotonic());
  const char* path = workload.text("file", "");
  const int file = *path != '\0' ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)
                                 : open("/tmp", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
  bench::check(file >= 0, "opening the file");
  static char block[1 << 20];
  std::memset(block, 'x', sizeof block);

  bench::sleep_until(start);
  workload.start();
  uint64_t done = 0;
  for (bool write = true; bench::monotonic() - start < length; write = !write) {
    for (size_t i = 0; i < mebibytes && bench::monotonic() - start < length; ++i, ++done) {
      const auto at = static_cast<off_t>(i * sizeof block);
      const ssize_t moved = write ? pwrite(file, block, sizeof block, at) : pread(file, block, sizeof block, at);
      bench::check(moved >= 0, write ? "writing the file" : "reading the file");
      bench::sleep_until(start + static_cast<double>(done) / rate);
    }
  }
  workload.stop();
  return workload.report(done > 0 ? done : 1);
}
