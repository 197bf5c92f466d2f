#include "observe/waits.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "tests/catch.h"
#include "tests/unit/fake_groups.h"

using namespace pm;
using namespace pm::test;

namespace {

constexpr uint64_t kMs = 1000000;
const std::string kSystem = "/proc/pressure/memory";

struct Fixture {
  FakeFiles files;
  GroupLimits limits;
  Waits waits;
  os::GroupPath place;
  char buffer[8192];
  uint64_t now = 100000 * kMs;

  Fixture() { files.set(kSystem, "some total=0\n"); }
  os::Scratch scratch() { return {buffer, sizeof buffer}; }
  void locate(uint8_t version, const std::string& path) {
    place.version = version;
    place.size = path.size();
    place.mount_size = 2;
    memcpy(place.directory, path.data(), path.size());
    limits.locate(files.functions(), place);
    arrange();
  }
  void arrange() {
    now += 1000 * kMs;
    LimitReading reading;
    limits.refresh(files.functions(), scratch(), now);
    limits.read(files.functions(), scratch(), now, reading);
    waits.arrange(files.functions(), scratch(), place, limits, place.version, reading.limit_bytes);
  }
  pollfd& entry(Wake wake) { return waits.entries(now)[static_cast<unsigned>(wake)]; }
  bool has(Wake wake) { return entry(wake).fd >= 0; }
  // The kernel says that the source is ready.
  uint32_t fire(Wake wake, int events) {
    pollfd* const entries = waits.entries(now);
    entries[static_cast<unsigned>(wake)].revents = static_cast<short>(events);
    return waits.acknowledge(files.functions(), scratch(), now);
  }
  FakeFiles::Node& node(Wake wake) { return *files.node_of(entry(wake).fd); }
};

}  // namespace

TEST_CASE("the stall trigger is set on the group, else on the system") {
  Fixture f;
  group2(f.files, "/u/a", 100, "max");
  f.locate(2, "/u/a");
  CHECK(f.files.tree["/u/a/memory.pressure"]->written == std::string("some 150000 2000000\0", 20));
  CHECK(f.entry(Wake::pressure).events == POLLPRI);
  CHECK(f.files.tree[kSystem]->written.empty());
  f.arrange();
  CHECK(f.files.tree["/u/a/memory.pressure"]->written.size() == 20);

  Fixture g;
  group2(g.files, "/u/a", 100, "max");
  g.files.set("/u/a/memory.pressure", "").open_error = -EACCES;
  g.locate(2, "/u/a");
  CHECK(g.files.tree[kSystem]->written.size() == 20);
  CHECK(g.has(Wake::pressure));

  // Refused everywhere (an old kernel): no entry, and no attempt each second.
  Fixture h;
  h.files.set(kSystem, "").write_error = -EOPNOTSUPP;
  h.locate(0, "");
  CHECK_FALSE(h.has(Wake::pressure));
  CHECK(h.files.open_count() == 0);
  const unsigned opens = h.files.opens;
  h.arrange();
  CHECK(h.files.opens == opens);
}

TEST_CASE("thresholds follow the limit of version 1") {
  Fixture f;
  group1(f.files, "/m/a", 100, 200);
  f.locate(1, "/m/a");
  REQUIRE(f.has(Wake::threshold));
  const std::string& control = f.files.tree["/m/a/cgroup.event_control"]->written;
  const std::string counter = std::to_string(f.entry(Wake::threshold).fd);
  const std::string usage = std::to_string(f.limits.usage_file()->descriptor());
  const uint64_t percent = 200 * kMiB / 100;
  CHECK(control == counter + " " + usage + " " + std::to_string(percent * 80) + counter + " " + usage + " " +
                       std::to_string(percent * 95));
  const size_t written = control.size();
  const size_t open = f.files.open_count();
  const unsigned opens = f.files.opens;
  f.arrange();
  CHECK(control.size() == written);
  CHECK(f.files.opens == opens);
  f.files.set("/m/a/memory.limit_in_bytes", mib(400) + "\n");
  f.arrange();
  CHECK(control.size() > written);
  CHECK(f.files.open_count() == open);  // the old counter is closed, and its thresholds with it
  f.files.set("/m/a/memory.limit_in_bytes", kNone1 + "\n");
  f.arrange();
  CHECK_FALSE(f.has(Wake::threshold));
}

TEST_CASE("a kernel that does not tell eventfds apart has no thresholds") {
  Fixture f;
  f.files.has_event_ids = false;
  group1(f.files, "/m/a", 100, 200);
  f.locate(1, "/m/a");
  CHECK_FALSE(f.has(Wake::threshold));
  CHECK(f.files.tree["/m/a/cgroup.event_control"]->written.empty());
}

TEST_CASE("a counter that fired is emptied and rests") {
  Fixture f;
  group1(f.files, "/m/a", 100, 200);
  f.locate(1, "/m/a");
  FakeFiles::Node& counter = f.node(Wake::threshold);
  counter.text = "12345678";
  CHECK(f.fire(Wake::threshold, POLLIN) == wake_bit(Wake::threshold));
  CHECK(counter.text.empty());
  CHECK_FALSE(f.has(Wake::threshold));
  f.now += 250 * kMs;
  CHECK(f.has(Wake::threshold));
  // A clock that went far back does not silence it.
  f.fire(Wake::threshold, POLLIN);
  f.now -= 50000 * kMs;
  CHECK(f.has(Wake::threshold));
}

TEST_CASE("somebody else's eventfd under our number is left alone") {
  Fixture f;
  group1(f.files, "/m/a", 100, 200);
  f.locate(1, "/m/a");
  auto foreign = f.files.take_over_all(true);
  CHECK(f.fire(Wake::threshold, POLLIN) == 0);
  CHECK_FALSE(f.has(Wake::threshold));
  CHECK(foreign->foreign_uses == 0);
  f.arrange();
  CHECK(f.has(Wake::threshold));
  f.files.take_over_all(true);
  f.waits.close(f.files.functions(), f.scratch());
  CHECK(foreign->foreign_uses == 0);
}

TEST_CASE("memory.events of the limiting group is waited on in version 2") {
  Fixture f;
  group2(f.files, "/u/a", 100, mib(200));
  f.locate(2, "/u/a");
  REQUIRE(f.has(Wake::events));
  CHECK(f.entry(Wake::events).events == POLLPRI);
  // kernfs says both.
  CHECK(f.fire(Wake::events, POLLPRI | POLLERR) == wake_bit(Wake::events));
  f.now += 250 * kMs;
  CHECK(f.has(Wake::events));
  CHECK_FALSE(f.has(Wake::threshold));
}

TEST_CASE("a trigger whose group went away is dropped and set anew") {
  Fixture f;
  group2(f.files, "/u/a", 100, mib(200));
  f.locate(2, "/u/a");
  CHECK(f.fire(Wake::pressure, POLLERR) == 0);
  f.now += 250 * kMs;
  CHECK_FALSE(f.has(Wake::pressure));
  f.arrange();
  CHECK(f.has(Wake::pressure));
}

TEST_CASE("the program closes every descriptor") {
  Fixture f;
  group2(f.files, "/u/a", 100, mib(200));
  f.locate(2, "/u/a");
  f.files.close_all();
  for (const Wake wake : {Wake::pressure, Wake::events}) CHECK(f.fire(wake, POLLNVAL) == 0);
  f.now += 250 * kMs;
  CHECK_FALSE(f.has(Wake::pressure));
  f.arrange();
  CHECK(f.has(Wake::pressure));
  CHECK(f.has(Wake::events));
}

TEST_CASE("the service manager's file: written to, waited on, instead of our own trigger") {
  Fixture f;
  f.files.set("/run/pressure", "some total=0\n");
  f.waits.configure("/run/pressure", "c29tZSAyMDAwMDAgMjAwMDAwMAA=");
  f.locate(0, "");
  CHECK(f.files.tree["/run/pressure"]->written == std::string("some 200000 2000000\0", 20));
  CHECK(f.entry(Wake::service_manager).events == POLLPRI);
  CHECK_FALSE(f.has(Wake::pressure));
  CHECK(f.fire(Wake::service_manager, POLLPRI) == wake_bit(Wake::service_manager));
}

TEST_CASE("the service manager's pipe or socket: anything in it is pressure") {
  for (const os::FileKind kind : {os::FileKind::pipe, os::FileKind::socket}) {
    Fixture f;
    FakeFiles::Node& stream = f.files.set("/run/pressure", "");
    stream.kind = kind;
    f.waits.configure("/run/pressure", "Zm9v");
    f.locate(0, "");
    CHECK(stream.written == "foo");
    CHECK(f.entry(Wake::service_manager).events == POLLIN);
    stream.text = std::string(1000, 'x');
    CHECK(f.fire(Wake::service_manager, POLLIN) == wake_bit(Wake::service_manager));
    CHECK(stream.text.empty());
    f.now += 250 * kMs;
    // A flood is not drunk up: it fires again.
    stream.text = std::string(100000, 'x');
    CHECK(f.fire(Wake::service_manager, POLLIN) == wake_bit(Wake::service_manager));
    CHECK(!stream.text.empty());
    f.now += 250 * kMs;
    stream.text.clear();
    stream.removed = true;
    f.fire(Wake::service_manager, POLLIN | POLLHUP);
    f.arrange();
    f.now += 250 * kMs;
    CHECK_FALSE(f.has(Wake::service_manager));
    CHECK(f.has(Wake::pressure));
  }
}

TEST_CASE("a service manager that offers nothing usable leaves our own trigger") {
  struct Case {
    const char* watch;
    const char* write;
  };
  const std::string long_name = "/" + std::string(400, 'x');
  for (const Case c : {Case{nullptr, nullptr}, Case{"", ""}, Case{"/dev/null", nullptr}, Case{"relative", "Zm9v"},
                       Case{"/missing", "Zm9v"}, Case{"/run/pressure", "!!!"}, Case{"/directory", nullptr},
                       Case{long_name.c_str(), nullptr}, Case{"/refuses", "Zm9v"}}) {
    Fixture f;
    f.files.set("/run/pressure", "");
    f.files.set("/directory", "").kind = os::FileKind::directory;
    f.files.set("/refuses", "").write_error = -EPERM;
    f.waits.configure(c.watch, c.write);
    f.locate(0, "");
    CHECK_FALSE(f.has(Wake::service_manager));
    CHECK(f.has(Wake::pressure));
    CHECK(f.files.open_count() == 1);
  }
}

TEST_CASE("closing leaves nothing open but the limits' own files") {
  Fixture f;
  group1(f.files, "/m/a", 100, 200);
  f.locate(1, "/m/a");
  f.waits.close(f.files.functions(), f.scratch());
  f.limits.close(f.files.functions());
  CHECK(f.files.open_count() == 0);
}
