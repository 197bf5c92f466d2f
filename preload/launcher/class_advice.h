// Which further size classes would serve a process best, from the requests that its heap profile saw.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_CLASS_ADVICE_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_CLASS_ADVICE_H_

#include <cstdint>
#include <vector>

#include "metrics/page.h"
#include "preload/launcher/profile_estimate.h"

namespace pm {

inline constexpr unsigned kMostAdvisedClasses = 8;

struct ClassAdvice {
  std::vector<uint32_t> sizes;  // rising
  Estimate saved;               // bytes that the objects in use would take less
};

// The sizes, at most kMostAdvisedClasses, that save most in all; exact for the rows of the page. A class of its own
// costs partly filled slabs and magazines, so each has to save more than a slab and a four-hundredth of what is in use.
ClassAdvice find_classes(const PageBody& page);

// Whether that is worth an option: more than a fiftieth of what is in use, and more than its own standard error.
bool is_worthwhile(const ClassAdvice& advice, const PageBody& page);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_CLASS_ADVICE_H_
