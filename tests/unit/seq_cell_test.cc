#include "base/seq_cell.h"

#include <thread>

#include "tests/catch.h"

namespace {

using namespace pm;

struct Record {
  uint64_t a, b, c;
  uint32_t d;
};

TEST_CASE("nothing is read before something was written") {
  SeqCell<Record> cell;
  Record out = {};
  CHECK(!cell.read(out));
  cell.write({1, 2, 3, 4});
  CHECK(cell.read(out));
  CHECK((out.a == 1 && out.b == 2 && out.c == 3 && out.d == 4));
}

TEST_CASE("a reader sees one write, never two halves") {
  SeqCell<Record> cell;
  cell.write({0, 0, 0, 0});
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint64_t i = 1; i < 200'000; ++i) cell.write({i, i, i, static_cast<uint32_t>(i)});
    stop = true;
  });
  uint64_t last = 0;
  bool whole = true;
  while (!stop) {
    Record out;
    if (!cell.read(out)) continue;
    whole = whole && out.a == out.b && out.b == out.c && out.d == static_cast<uint32_t>(out.a) && out.a >= last;
    last = out.a;
  }
  writer.join();
  CHECK(whole);
}

}  // namespace
