#include "os/mappings.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "os/process.h"
#include "os/syscall.h"

namespace pm::os {
namespace {

// Calls use(line) for each line, without its newline, until it returns true. Lines of kLongest bytes and more are cut.
template <size_t kLongest, typename Use>
void each_line(Use use) {
  const long fd = raw_syscall(SYS_openat, AT_FDCWD, argument("/proc/self/maps"), O_RDONLY | O_CLOEXEC);
  if (failed(fd)) return;
  char chunk[2048];
  char line[kLongest];
  size_t length = 0;
  for (bool done = false; !done;) {
    const long n = raw_syscall(SYS_read, fd, argument(chunk), sizeof chunk);
    if (n == -EINTR) continue;
    if (n <= 0) break;
    for (long i = 0; i < n && !done; ++i) {
      if (chunk[i] != '\n') {
        if (length < sizeof line - 1) line[length++] = chunk[i];
        continue;
      }
      line[length] = 0;
      length = 0;
      done = use(line);
    }
  }
  close_file(static_cast<int>(fd));
}

const char* read_hex(const char* p, uint64_t& value) {
  value = 0;
  for (;; ++p) {
    if (is_digit(*p)) {
      value = value * 16 + static_cast<unsigned>(*p - '0');
    } else if (*p >= 'a' && *p <= 'f') {
      value = value * 16 + static_cast<unsigned>(*p - 'a' + 10);
    } else {
      return p;
    }
  }
}

// Range, rights, offset, device and inode, and a path or nothing.
bool parse(const char* line, MappingLine& out) {
  uint64_t start;
  uint64_t end;
  const char* p = read_hex(line, start);
  if (*p != '-') return false;
  p = read_hex(p + 1, end);
  if (text_length(p) < 6) return false;
  out = {start, end, 0, p[2] == 'w', p[3] == 'x', ""};
  p = strpbrk(read_hex(p + 6, out.file_offset), "/[");
  if (p != nullptr) out.path = p;
  return true;
}

void copy_name(const char* path, char (&name)[128]) {
  if (*path == '/') path = strrchr(path, '/') + 1;
  size_t i = 0;
  for (; i < sizeof name - 1 && path[i] != 0; ++i) name[i] = path[i];
  name[i] = 0;
}

// Where only the beginning of a line counts, and perhaps its file's name. Small, as the stack may be a signal
// handler's.
constexpr size_t kShort = 512;

}  // namespace

void each_mapping(void (*use)(void* context, const MappingLine& mapping), void* context) {
  // A path of 4096 bytes at most, and what is before it.
  each_line<4096 + 128>([&](const char* line) {
    MappingLine mapping;
    if (parse(line, mapping)) use(context, mapping);
    return false;
  });
}

bool find_mapping(uintptr_t address, Mapping& out) {
  bool found = false;
  each_line<kShort>([&](const char* line) {
    MappingLine mapping;
    if (!parse(line, mapping) || address < mapping.start || address >= mapping.end) return false;
    out.start = mapping.start;
    out.end = mapping.end;
    out.writable = mapping.writable;
    out.executable = mapping.executable;
    copy_name(mapping.path, out.name);
    found = true;
    return true;
  });
  return found;
}

uint64_t count_mappings() {
  uint64_t count = 0;
  each_line<kShort>([&](const char*) {
    ++count;
    return false;
  });
  return count;
}

}  // namespace pm::os
