#include "preload/launcher/function_name.h"

#include <libiberty/demangle.h>

#include <cstdlib>
#include <memory>

namespace pm {
namespace {

// Drops what a compiler appended to the name of a function that it split or copied.
std::string without_clone_suffix(const std::string& symbol) {
  for (const char* suffix : {".cold", ".part.", ".isra.", ".constprop.", ".lto_priv.", ".llvm."}) {
    const size_t at = symbol.find(suffix);
    if (at != std::string::npos && at > 0) return without_clone_suffix(symbol.substr(0, at));
  }
  return symbol;
}

}  // namespace

bool is_mangled(const std::string& symbol) {
  return symbol.compare(0, 2, "_Z") == 0 || symbol.compare(0, 2, "_R") == 0;
}

std::string function_name(const std::string& symbol) {
  const std::string whole = without_clone_suffix(symbol);
  if (!is_mangled(whole)) return whole;
  const std::unique_ptr<char, decltype(&std::free)> name(cplus_demangle(whole.c_str(), DMGL_AUTO | DMGL_ANSI),
                                                         &std::free);
  return name ? name.get() : whole;
}

}  // namespace pm
