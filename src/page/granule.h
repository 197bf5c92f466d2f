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
// Owners of huge blocks: shards below, file heaps from here on (page/file_extents.h), and one for what a destroyed file
// heap left behind.
inline constexpr uint8_t kFirstFileOwner = 128;
inline constexpr uint8_t kAbandonedOwner = 254;
// The largest alignment an object may ask for.
inline constexpr size_t kMaxAlignment = kGiB;

}  // namespace pm
