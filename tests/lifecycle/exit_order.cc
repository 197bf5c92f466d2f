// atexit handlers, static and thread-local destructors allocate and free up to the very last one.
//
// main returns 3; only the last destructor of the program turns that into 0, when all the others have run.
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "expect.h"

namespace {

int steps = 0;
char* late;

struct Holder {
  explicit Holder(int number) : text(static_cast<std::size_t>(number), 'h') {}
  ~Holder() {
    std::string copy = text + text;
    EXPECT(copy.size() == 2 * text.size());
    ++steps;
  }
  std::string text;
};

Holder first(100);
Holder second(100000);
thread_local Holder of_thread(500);

void at_exit() {
  std::vector<std::string> many;
  for (int i = 0; i < 1000; ++i) many.emplace_back(static_cast<std::size_t>(i), 'a');
  free(late);
  late = static_cast<char*>(malloc(3000000));
  ++steps;
}

// C destructors run after those of C++ objects; the lowest priority number runs last.
__attribute__((destructor(101))) void last_of_all() {
  free(late);
  free(malloc(100));
  // Two holders, two thread-local ones, and the atexit handler twice.
  EXPECT(steps == 6);
  _exit(0);
}

}  // namespace

int main() {
  late = static_cast<char*>(malloc(5000));
  EXPECT(atexit(at_exit) == 0 && atexit(at_exit) == 0);
  EXPECT(of_thread.text.size() == 500);
  std::thread([] { EXPECT(of_thread.text.size() == 500); }).join();
  EXPECT(steps == 1);
  return 3;
}
