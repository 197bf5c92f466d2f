// A C++ library that comes late into a C program: its operator new must throw like libstdc++'s.
#include <cstddef>
#include <cstdint>
#include <map>
#include <new>
#include <string>

namespace {

int handler_calls = 0;

void gives_up() {
  if (++handler_calls == 2) std::set_new_handler(nullptr);
}

bool throws_bad_alloc(std::size_t size) {
  try {
    ::operator delete(::operator new(size));
  } catch (const std::bad_alloc&) {
    return true;
  }
  return false;
}

}  // namespace

// Returns the number of the first thing that is wrong, or 0.
extern "C" int exercise(std::size_t impossible) {
  if (!throws_bad_alloc(impossible)) return 1;
  handler_calls = 0;
  std::set_new_handler(gives_up);
  if (!throws_bad_alloc(impossible)) return 2;
  if (handler_calls != 2) return 3;
  if (::operator new(impossible, std::nothrow) != nullptr) return 4;
  std::map<std::string, std::string> table;
  for (int i = 0; i < 10000; ++i) table[std::to_string(i)] = std::string(static_cast<std::size_t>(i % 700), 'x');
  for (int i = 0; i < 10000; ++i) {
    if (table[std::to_string(i)].size() != static_cast<std::size_t>(i % 700)) return 5;
  }
  return 0;
}
