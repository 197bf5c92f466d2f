/* poolmalloc: what the allocator offers beyond the C library's malloc interface.
 *
 * Every function here may be called from any thread. None of them throws.
 */
#ifndef POOLMALLOC_POOLMALLOC_H
#define POOLMALLOC_POOLMALLOC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PM_VERSION_MAJOR 0
#define PM_VERSION_MINOR 1
#define PM_VERSION_PATCH 0

enum pm_format { PM_FORMAT_TEXT = 0, PM_FORMAT_JSON = 1, PM_FORMAT_OPENMETRICS = 2 };

/* "0.1.0"; the string lives as long as the process. */
const char* pm_version(void);

/* How the process's memory is served: "rseq", "locked", or "passthrough" when the C library's allocator is used. */
const char* pm_mode(void);

/* Gives free memory back to the system, outermost layer first, until `goal` bytes were given back or nothing is left to
 * give; SIZE_MAX means everything. Returns the bytes given back. Drains every CPU's magazines, so that the next
 * allocations are slower. */
size_t pm_trim(size_t goal);

/* Writes all statistics to the file descriptor. Returns 0, or -1 with errno set: EINVAL for an unknown format, or what
 * write(2) reported. Allocates nothing. */
int pm_stats_write(int fd, enum pm_format format);

/* The value of one metric by its name in the statistics ("committed_bytes"). Returns 0, or -1 with errno ENOENT. */
int pm_metric_get(const char* name, unsigned long long* value);

/* The value of an option as text ("2m"), and whether it differs from its default. Returns the length of the text
 * without its final zero, as snprintf does, or -1 with errno ENOENT for an unknown option. */
int pm_option_get(const char* name, char* buffer, size_t size, int* is_default);

#ifdef __cplusplus
}
#endif
#endif
