// A library that allocates, on behalf of leaks.cc and soak.cc; its constructor does as well, while it is being loaded.
#include <stdexcept>
#include <string>

#include "expect.h"

namespace {

struct Early {
  Early() : text(opaque_size(5000), 'x') {}
  std::string text;
} early;

}  // namespace

extern "C" __attribute__((visibility("default"))) void plugin_allocate(int times) {
  for (int i = 0; i < times; ++i) free(opaque(malloc(300)));
}

extern "C" __attribute__((visibility("default"))) void plugin_throw(int depth) {
  const std::string local(opaque_size(200), 'y');
  if (depth == 0) throw std::runtime_error(local);
  plugin_throw(depth - 1);
  EXPECT(local.size() == 200);
}
