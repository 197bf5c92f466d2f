#include "os/cgroup.h"

#include <cerrno>

#include "base/text.h"

namespace pm::os {
namespace {

// One line of mountinfo, as far as it concerns groups.
struct GroupMount {
  uint8_t version;
  Text root;   // with \040 for a blank, as the kernel escapes it
  Text point;  // likewise
};

// False for other mounts.
bool read_group_mount(Text line, GroupMount& mount) {
  // 35 31 0:32 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory
  unsigned dash = 6;
  Text field = word(line, dash);
  while (!field.empty() && !equals(field, "-")) field = word(line, ++dash);
  const Text type = word(line, dash + 1);
  if (equals(type, "cgroup2")) {
    mount.version = 2;
  } else if (equals(type, "cgroup") && has_item(word(line, dash + 3), "memory")) {
    mount.version = 1;
  } else {
    return false;
  }
  mount.root = word(line, 3);
  mount.point = word(line, 4);
  return !mount.root.empty() && mount.root.data[0] == '/' && !mount.point.empty() && mount.point.data[0] == '/';
}

// Undoes the kernel's escapes (\040 and the like) while it appends. False if it does not fit.
bool append(GroupPath& place, Text text) {
  for (size_t i = 0; i < text.size; ++i) {
    char c = text.data[i];
    if (c == '\\' && i + 3 < text.size) {
      unsigned value = 0;
      for (size_t digit = 1; digit <= 3; ++digit) value = value * 8 + static_cast<unsigned>(text.data[i + digit] - '0');
      c = static_cast<char>(value);
      i += 3;
    }
    // Room stays for the longest file name behind it.
    if (place.size + 64 >= GroupPath::kCapacity) return false;
    place.directory[place.size++] = c;
  }
  return true;
}

// The path below `root`, or false if it is not there. "/" has everything below it.
bool below(Text path, Text root, Text& rest) {
  if (root.size == 1) root.size = 0;
  if (path.size < root.size || !text_equal(path.data, root.size, root.data, root.size)) return false;
  rest = {path.data + root.size, path.size - root.size};
  if (rest.size == 1) rest.size = 0;
  return rest.empty() || rest.data[0] == '/';
}

bool place_behind(const GroupMount& mount, Text rest, GroupPath& place) {
  place.version = mount.version;
  place.size = 0;
  if (!append(place, mount.point)) return false;
  place.mount_size = place.size;
  return append(place, rest);
}

// The directory of the group `path` in this mount; false if the mount does not reach it, or the name is too long.
bool place_group(const GroupMount& mount, Text path, GroupPath& place) {
  Text rest;
  return below(path, mount.root, rest) && place_behind(mount, rest, place);
}

bool is_group(const FileFunctions& files, const GroupPath& place) {
  char path[GroupPath::kCapacity + 32];
  TextWriter out(path);
  out.text(place.directory, place.size).text("/cgroup.procs");
  return files.look_up(files.context, out.c_str()).kind == FileKind::regular;
}

// The group in this mount where neither root nor path agree with what is visible (containers in containers, mounts
// made before a namespace): the longest end of the path that exists there, at last the mount point itself.
bool guess_group(const FileFunctions& files, const GroupMount& mount, Text path, GroupPath& place) {
  for (;;) {
    size_t skip = path.empty() ? 0 : 1;
    while (skip < path.size && path.data[skip] != '/') ++skip;
    path = {path.data + skip, path.size - skip};
    if (place_behind(mount, path, place) && is_group(files, place)) return true;
    if (path.empty()) return false;
  }
}

// The search for one version's group while the mounts pass by.
struct Search {
  Text path{nullptr, 0};
  bool certain = false;

  void consider(const FileFunctions& files, const GroupMount& mount, GroupPath& place) {
    if (certain || path.empty()) return;
    GroupPath found;
    if (place_group(mount, path, found) && is_group(files, found)) {
      certain = true;
      place = found;
    } else if (place.version == 0 && guess_group(files, mount, path, found)) {
      place = found;
    }
  }
};

// Third field of "4:memory:/path"; a name may hold colons itself.
bool split_group_line(Text line, Text& controllers, Text& path) {
  size_t first = 0;
  while (first < line.size && line.data[first] != ':') ++first;
  size_t second = first + 1;
  while (second < line.size && line.data[second] != ':') ++second;
  if (second >= line.size) return false;
  controllers = {line.data + first + 1, second - first - 1};
  path = {line.data + second + 1, line.size - second - 1};
  return !path.empty() && path.data[0] == '/';
}

// Feeds a file to `use(line)`. Lines longer than the buffer are skipped.
template <typename Use>
bool each_line(const FileFunctions& files, const char* path, Scratch buffer, Use use) {
  const int fd = files.open(files.context, path, OpenMode::read);
  if (fd < 0) return false;
  size_t held = 0;
  bool skipping = false;
  for (;;) {
    const long n = files.take(files.context, fd, buffer.data + held, buffer.size - held);
    if (n == -EINTR) continue;
    if (n <= 0) break;
    held += static_cast<size_t>(n);
    Text rest = {buffer.data, held};
    Text lines = whole_lines(rest);
    const size_t used = lines.size;
    if (skipping && used > 0) {
      next_line(lines);
      skipping = false;
    }
    while (!lines.empty()) use(next_line(lines));
    held -= used;
    for (size_t i = 0; i < held; ++i) buffer.data[i] = buffer.data[used + i];
    if (held == buffer.size) {
      skipping = true;
      held = 0;
    }
  }
  files.close(files.context, fd);
  return true;
}

}  // namespace

bool find_groups(const FileFunctions& files, Scratch scratch, Groups& groups) {
  groups.memory.version = groups.pressure.version = 0;
  groups.fingerprint = 0;
  // One half holds the list, which the paths point into; the other the mounts as they pass by.
  const Scratch mounts = {scratch.data + scratch.size / 2, scratch.size - scratch.size / 2};
  const int fd = files.open(files.context, kGroupList, OpenMode::read);
  if (fd < 0) return false;
  const long size = files.read(files.context, fd, scratch.data, scratch.size / 2);
  files.close(files.context, fd);
  if (size <= 0) return false;

  Text list = whole_lines({scratch.data, static_cast<size_t>(size)});
  groups.fingerprint = fingerprint(list);
  Search memory_v1;
  Search unified;
  while (!list.empty()) {
    const Text line = next_line(list);
    Text controllers;
    Text path;
    if (!split_group_line(line, controllers, path)) continue;
    if (has_item(controllers, "memory")) memory_v1.path = path;
    if (controllers.empty()) unified.path = path;
  }
  each_line(files, "/proc/thread-self/mountinfo", mounts, [&](Text line) {
    GroupMount mount;
    if (!read_group_mount(line, mount)) return;
    if (mount.version == 1) memory_v1.consider(files, mount, groups.memory);
    if (mount.version == 2) unified.consider(files, mount, groups.pressure);
  });
  // The memory controller is bound to one hierarchy: where version 1 does not have it, version 2 does.
  if (memory_v1.path.empty()) groups.memory = groups.pressure;
  return groups.memory.version != 0 || groups.pressure.version != 0;
}

}  // namespace pm::os
