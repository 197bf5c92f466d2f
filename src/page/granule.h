// The units of the page layer. A granule (64 KiB) is what extents are counted in and what the page map has one byte
// for; a huge block is 2 MiB, aligned. Granules are numbered from the start of the region's window.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bits.h"

namespace pm {

using GranuleIndex = uint32_t;

inline constexpr unsigned kGranuleShift = 16;
inline constexpr size_t kGranuleBytes = size_t{1} << kGranuleShift;
inline constexpr uint32_t kBlockGranules = 32;
inline constexpr size_t kBlockBytes = kBlockGranules * kGranuleBytes;
// The largest alignment an object may ask for.
inline constexpr size_t kMaxAlignment = kGiB;

}  // namespace pm
