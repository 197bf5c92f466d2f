// What happens when the program breaks malloc's rules: one exact line that names what, where and whose code, then
// abort, or go on with the call ignored (POOLMALLOC_MISUSE=continue).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pm {

// Relaxed: a setting.
extern std::atomic<bool> abort_on_misuse;

void report_double_free(const void* p, size_t class_size, const void* caller);  // class_size 0: a large object
void report_late_double_free(const void* p, size_t class_size);                 // long after the call
void report_released(const void* p, const void* caller);                        // no object is left there
void report_inside(const void* p, const void* object, size_t class_size, const void* caller);
void report_use_of_freed(const char* call, const void* p, size_t class_size, const void* caller);
// In a file heap's free memory, or (gone) in what a destroyed one left.
void report_file_memory(const char* call, const void* p, bool gone, const void* caller);
void report_other_heap(const char* call, const void* p, const void* caller);  // not of the heap it was given to
void report_sized(const void* p, size_t size, size_t class_size, const void* caller);
// A pointer outside the region. Returns true if the C library's allocator may own it; otherwise it has been reported.
bool check_foreign(const void* p, const char* call, const void* caller);

uint64_t misuse_count();
uint64_t foreign_count();

}  // namespace pm
