#include "os/cgroup.h"

#include <string>

#include "tests/catch.h"
#include "tests/unit/fake_groups.h"

using namespace pm;
using namespace pm::test;
using os::GroupPath;
using os::Groups;

namespace {

std::string directory(const GroupPath& path) {
  return path.version == 0 ? "none" : std::string(path.directory, path.size);
}
std::string top(const GroupPath& path) { return std::string(path.directory, path.mount_size); }

Groups find(FakeFiles& files) {
  static char scratch[8192];
  Groups groups;
  os::find_groups(files.functions(), {scratch, sizeof scratch}, groups);
  CHECK(files.open_count() == 0);
  return groups;
}

void procs(FakeFiles& files, const std::string& group) { files.set(group + "/cgroup.procs", ""); }

}  // namespace

TEST_CASE("version 2: the path behind the mount point") {
  FakeFiles files;
  process(files, "0::/system.slice/a.service\n", kMount2);
  procs(files, "/sys/fs/cgroup/system.slice/a.service");
  const Groups groups = find(files);
  CHECK(groups.memory.version == 2);
  CHECK(directory(groups.memory) == "/sys/fs/cgroup/system.slice/a.service");
  CHECK(top(groups.memory) == "/sys/fs/cgroup");
  CHECK(directory(groups.pressure) == directory(groups.memory));
  CHECK(groups.fingerprint != 0);
}

TEST_CASE("version 1: the hierarchy with the memory controller") {
  FakeFiles files;
  process(files, "9:name=systemd:/x\n4:hugetlb,memory:/a/b\n1:cpu:/c\n",
          "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" + kMount1);
  procs(files, "/sys/fs/cgroup/memory/a/b");
  const Groups groups = find(files);
  CHECK(groups.memory.version == 1);
  CHECK(directory(groups.memory) == "/sys/fs/cgroup/memory/a/b");
  CHECK(groups.pressure.version == 0);
}

TEST_CASE("hybrid: memory by version 1, pressure by version 2") {
  FakeFiles files;
  process(files, "4:memory:/a\n0::/u\n", kMount1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  procs(files, "/sys/fs/cgroup/memory/a");
  procs(files, "/sys/fs/cgroup/unified/u");
  const Groups groups = find(files);
  CHECK(groups.memory.version == 1);
  CHECK(directory(groups.pressure) == "/sys/fs/cgroup/unified/u");
}

TEST_CASE("a version 1 controller that is not mounted is not taken for version 2's") {
  FakeFiles files;
  process(files, "4:memory:/a\n0::/u\n", "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  procs(files, "/sys/fs/cgroup/unified/u");
  const Groups groups = find(files);
  CHECK(groups.memory.version == 0);
  CHECK(groups.pressure.version == 2);
}

TEST_CASE("a container without a namespace: the mount's root is its group") {
  FakeFiles files;
  process(files, "4:memory:/docker/abc/inner\n",
          "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  procs(files, "/sys/fs/cgroup/memory/inner");
  procs(files, "/sys/fs/cgroup/memory");
  CHECK(directory(find(files).memory) == "/sys/fs/cgroup/memory/inner");
  files.set("/proc/thread-self/cgroup", "4:memory:/docker/abc\n");
  CHECK(directory(find(files).memory) == "/sys/fs/cgroup/memory");
  // Only whole names count: /docker/abcd is not below /docker/abc; the mount point is the best guess.
  files.set("/proc/thread-self/cgroup", "4:memory:/docker/abcd\n");
  CHECK(directory(find(files).memory) == "/sys/fs/cgroup/memory");
}

TEST_CASE("a namespace: root and path are relative to it") {
  FakeFiles files;
  process(files, "0::/\n", kMount2);
  procs(files, "/sys/fs/cgroup");
  CHECK(directory(find(files).memory) == "/sys/fs/cgroup");
  CHECK(top(find(files).memory) == "/sys/fs/cgroup");
  // Moved outside after the namespace was made; the mount reaches one group above it.
  process(files, "0::/../other\n", "41 31 0:38 /.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  procs(files, "/sys/fs/cgroup/other");
  CHECK(directory(find(files).memory) == "/sys/fs/cgroup/other");
}

TEST_CASE("where path and mount disagree, the longest visible end of the path counts") {
  FakeFiles files;
  process(files, "0::/host/pod/container/leaf\n", kMount2);
  procs(files, "/sys/fs/cgroup");
  procs(files, "/sys/fs/cgroup/container/leaf");
  CHECK(directory(find(files).memory) == "/sys/fs/cgroup/container/leaf");
  files.remove("/sys/fs/cgroup/container/leaf/cgroup.procs");
  CHECK(directory(find(files).memory) == "/sys/fs/cgroup");
}

TEST_CASE("of two mounts the one that holds the group counts, whichever comes first") {
  FakeFiles files;
  const std::string wrong = "40 31 0:38 /elsewhere /mnt/elsewhere rw - cgroup2 cgroup2 rw\n";
  for (const std::string& mounts : {wrong + kMount2, kMount2 + wrong}) {
    process(files, "0::/a\n", mounts);
    procs(files, "/mnt/elsewhere");
    procs(files, "/sys/fs/cgroup/a");
    CHECK(directory(find(files).memory) == "/sys/fs/cgroup/a");
  }
}

TEST_CASE("escaped blanks, colons in names, long lines before ours") {
  FakeFiles files;
  process(files, "0::/a:b c\n",
          "50 1 0:50 / /big rw - overlay overlay rw,lowerdir=" + std::string(9000, 'x') + "\n" +
              "41 31 0:38 / /sys/fs\\040x/cgroup rw - cgroup2 cgroup2 rw\n");
  procs(files, "/sys/fs x/cgroup/a:b c");
  CHECK(directory(find(files).memory) == "/sys/fs x/cgroup/a:b c");
}

TEST_CASE("nothing to find") {
  FakeFiles files;
  CHECK(find(files).memory.version == 0);  // no /proc at all
  for (const std::string groups : {"", "garbage", "\n\n", "0::", "0::relative\n", "::\n:::\n", "4:memory\n"}) {
    process(files, groups, kMount2 + kMount1);
    CHECK(find(files).memory.version == 0);
  }
  process(files, "0::/" + std::string(3000, 'x') + "\n", kMount2);
  CHECK(find(files).memory.version == 0);
  for (const std::string mounts : {"- cgroup2\n", "41 31 0:38 / - cgroup2 cgroup2 rw\n", "41\n", "a b c d e f - \n",
                                   "41 31 0:38 relative /x rw - cgroup2 cgroup2 rw\n"}) {
    process(files, "0::/\n", mounts);
    CHECK(find(files).memory.version == 0);
  }
}
