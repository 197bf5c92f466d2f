// A library that allocates while it is loaded and frees while it is unloaded.
#include <cstdlib>
#include <string>
#include <vector>

namespace {

std::vector<std::string> names;
void* held;

__attribute__((constructor)) void loaded() { held = std::calloc(1000, 30); }
__attribute__((destructor)) void unloaded() { std::free(held); }

struct Filler {
  Filler() {
    for (int i = 0; i < 200; ++i) names.emplace_back(static_cast<std::size_t>(i * 3), 'n');
  }
  ~Filler() { names.clear(); }
} filler;

}  // namespace

extern "C" void* take(std::size_t size) { return std::malloc(size + names.size()); }
