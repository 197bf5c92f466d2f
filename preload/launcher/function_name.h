// Names of functions as people write them, from those in symbol tables.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_FUNCTION_NAME_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_FUNCTION_NAME_H_

#include <string>

namespace pm {

bool is_mangled(const std::string& symbol);

// C++ (Itanium) and Rust names demangled, without parameters, as profiles show them; other names as they are. The parts
// that a compiler made of one function ("f.cold", "f.part.0", "f.constprop.1") all get the function's name.
std::string function_name(const std::string& symbol);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_FUNCTION_NAME_H_
