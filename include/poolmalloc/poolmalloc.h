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

/* Puts the heap on 2 MiB pages where that wastes little (MADV_COLLAPSE, Linux 6.1): huge blocks of which 95 % are
 * resident and at most one granule of 64 KiB is free. For a program that has built what it will work on: neither the
 * age of the memory nor the size of the heap is asked about, as they are when this happens by itself. Begins no further
 * block after `milliseconds`; a block takes 0.6 to 0.9 ms, or tens where the machine has no huge page at hand. Returns
 * the bytes that lie on huge pages now and did not before: 0 when all is done, with POOLMALLOC_HUGE=never, and where
 * the system refuses. Thread-safe; other threads go on meanwhile, but may wait for the kernel in a page fault. */
size_t pm_collapse(unsigned milliseconds);

/* Writes all statistics to the file descriptor. Returns 0, or -1 with errno set: EINVAL for an unknown format, or what
 * write(2) reported. Allocates nothing. */
int pm_stats_write(int fd, enum pm_format format);

/* The value of one metric by its name in the statistics ("committed_bytes"). Returns 0, or -1 with errno ENOENT. */
int pm_metric_get(const char* name, unsigned long long* value);

/* The value of an option as text ("2m"), and whether it differs from its default. Returns the length of the text
 * without its final zero, as snprintf does, or -1 with errno ENOENT for an unknown option. */
int pm_option_get(const char* name, char* buffer, size_t size, int* is_default);

/* Gives an option another value while the process runs, written as in the environment ("64m", "never"). In force for
 * all threads when this returns; what the background thread decides follows it at its next look, which is asked for.
 * Memory and huge pages that were had by the old value stay until they are free. `poolmalloc options` tells which
 * options can be changed. Thread-safe. Returns 0, or -1 with errno, and nothing is changed:
 *   ENOENT   there is no such option
 *   EPERM    it is read at start only
 *   EINVAL   not a value of this option; to or from huge=hugetlb
 *   EAGAIN   called in a signal handler that interrupted the allocator
 *   ENOSYS   the C library's allocator serves this process (see pm_mode) */
int pm_option_set(const char* name, const char* value);

/* ---- Heap profiles: which code holds the memory ----
 *
 * A profile samples allocations by bytes: each byte that is handed out has the same chance, one in `period_bytes`, to
 * make its object a sample, so an object of n bytes is one with the probability 1 - exp(-n / period_bytes), and counts
 * of samples divided by it are unbiased. Of each sample the stack is kept, and whether it was freed. At 524288, the
 * usual period, a server does not notice; 1 samples every allocation. Objects of file heaps are not sampled.
 *
 * All three are thread-safe, but not for signal handlers. A forked child goes on with a copy of the profile. */

/* Begins a profile; what an earlier one counted is dropped. Returns 0, or -1 with errno set: EINVAL for 0 or more than
 * 2^40, EALREADY while a profile is taken, ENOMEM if its tables (POOLMALLOC_PROFILE_BYTES) do not fit, ENOTSUP if the C
 * library's allocator serves this process (see pm_mode). */
int pm_profile_start(size_t period_bytes);

/* Takes no more samples. Frees are still followed, so that pm_profile_dump tells what lives of those taken. Returns 0,
 * or -1 with errno ESRCH: no profile is taken. */
int pm_profile_stop(void);

/* Writes the profile that is taken, or was taken last, to the file descriptor, as text that the poolmalloc command
 * reads (`poolmalloc prof`). Allocates nothing. Returns 0, or -1 with errno set: ESRCH if there is none, EBUSY while
 * another thread writes one, or what write(2) reported; what was written until then lacks its last line, "end". */
int pm_profile_dump(int fd);

/* ---- File heaps: objects in a file, for data that should live on slower or shared memory ----
 *
 * A file heap hands out memory that is a shared mapping of one file: on a disk, on tmpfs (/dev/shm), or on a DAX file
 * system over persistent memory. Its objects work as all others do: free(), realloc() and malloc_usable_size() of the
 * preloaded or linked library take them, free() brings them home, and realloc() leaves them in their heap. It is not a
 * store: the allocator's own records are outside the file and end with the process. What a file holds afterwards is
 * the bytes that were written, at offsets nobody knows; no heap can be opened again with its objects.
 *
 * Disk blocks are reserved (fallocate(2); where a file system has no such call, by writing zeros) before memory is
 * handed out, so that a full disk is ENOSPC here and no SIGBUS later. That promise is the file system's: one that
 * copies on write (btrfs, ZFS) may still run out of room when it is written to. And the program must keep others from
 * truncating the file: a truncation is noticed by the next allocation, which fails with EIO as all later ones do, and
 * one line on stderr says so; touching what was cut off raises SIGBUS (mmap(2)).
 *
 * Freed memory is kept for reuse up to a quarter of what is in use, at least 16 MiB; beyond that its blocks are punched
 * out of the file. pm_trim() and malloc_trim() leave file heaps alone: pm_heap_trim() is for them.
 *
 * After fork(2) a child shares the memory with its parent: both see what either writes. The heap stays the parent's: in
 * the child, allocations fail with EPERM (realloc() with ENOMEM), frees are ignored, and pm_heap_destroy() ends the
 * child's own mapping only. A child may create heaps of its own.
 *
 * The functions may be called from any thread, but not from a signal handler; pm_heap_destroy() while nobody else uses
 * the heap or its objects. They set errno on failure and leave it alone otherwise. */
typedef struct pm_heap pm_heap_t;

enum pm_heap_flags {
  PM_HEAP_TEMPORARY = 1, /* path is a directory: the file in it has no name, and goes with the heap or the process */
  PM_HEAP_EXISTING = 2,  /* path is a regular file that exists, whose content is lost; else it must not exist yet */
  PM_HEAP_SYNC = 4       /* MAP_SYNC (mmap(2)): a store flushed from the CPU's caches is durable; DAX only */
};

/* A heap of `size` bytes, rounded up to 64 KiB, over the file that path and flags name. A named file is created with
 * mode 0600, locked (flock(2)) while the heap lives, and left where it is in the end. The file has its full length at
 * once, but takes room on the disk only as memory is handed out. NULL with errno set:
 *   EINVAL      size 0, an unknown flag, TEMPORARY with EXISTING, a file that is not regular or lies on hugetlbfs
 *   EEXIST, ENOENT, EACCES, EROFS, ...   what open(2) says
 *   EBUSY       another heap, or another program, has the file locked
 *   EFBIG       larger than the file system or RLIMIT_FSIZE allows
 *   ENOMEM      larger than the address space the allocator works in (see POOLMALLOC_RESERVE), or that is used up
 *   EMFILE      there are 32 heaps, or no file descriptor is left
 *   EOPNOTSUPP  PM_HEAP_SYNC on a file system that cannot
 *   ENOTSUP     the C library's allocator serves this process (see pm_mode) */
pm_heap_t* pm_heap_create_file(const char* path, size_t size, unsigned flags);

/* Ends the heap. Objects that still live go with it; to touch them afterwards faults, and to free them is reported as
 * misuse, until other memory comes to lie at their addresses. Returns 0, or -1 with errno EINVAL: not a heap. */
int pm_heap_destroy(pm_heap_t* heap);

/* At least `size` bytes, aligned to 16; size 0 gets an object of its own. Content is undefined. NULL with errno set:
 *   ENOMEM           the heap has no free piece that long
 *   ENOSPC, EDQUOT   the file system has no room
 *   EIO              the file was truncated or its descriptor closed by somebody else, or the disk fails
 *   EPERM            this process is a forked child of the heap's
 *   EINVAL           not a heap */
void* pm_heap_alloc(pm_heap_t* heap, size_t size);
/* The same, zeroed. ENOMEM also if count * size overflows. */
void* pm_heap_calloc(pm_heap_t* heap, size_t count, size_t size);
/* The same as pm_heap_alloc, aligned to a power of two up to 1 GiB; EINVAL for another alignment. */
void* pm_heap_aligned_alloc(pm_heap_t* heap, size_t alignment, size_t size);

/* As realloc(3) within the heap: a NULL p is an allocation, size 0 a free. On failure, with errno as above, the object
 * stays as it is; making it smaller does not fail for want of room. p must belong to this heap, else it is reported as
 * misuse, and EINVAL where the process goes on after that. */
void* pm_heap_realloc(pm_heap_t* heap, void* p, size_t size);

/* Frees p, which is NULL or belongs to this heap; anything else is reported as misuse. Keeps errno. */
void pm_heap_free(pm_heap_t* heap, void* p);

/* Bytes that the owner of p may use: at least what was asked for. 0 for NULL. */
size_t pm_heap_usable_size(pm_heap_t* heap, const void* p);

/* The file heap that p lies in, whether or not an object is there; NULL for all other memory. */
pm_heap_t* pm_heap_of(const void* p);

/* Punches free memory out of the file until `goal` bytes of blocks were given back or nothing is left to give; SIZE_MAX
 * means everything. Returns the bytes given back; 0 also where the file system cannot punch. */
size_t pm_heap_trim(pm_heap_t* heap, size_t goal);

/* All in bytes but for objects. size - used - free is what lies between objects: the free places beside small ones, and
 * the ends of the 64 KiB units of large ones. */
struct pm_heap_info {
  size_t size;    /* of the file */
  size_t used;    /* in objects, with what they have beyond the request */
  size_t free;    /* whole 64 KiB units that nothing has */
  size_t largest; /* of them, side by side: the largest object that fits now if the disk has room */
  size_t backed;  /* bytes with blocks in the file system, kept free ones included */
  size_t objects;
};
/* Returns 0, or -1 with errno EINVAL (not a heap) or EPERM (in a forked child). */
int pm_heap_get_info(pm_heap_t* heap, struct pm_heap_info* info);

/* Memory pressure: how near the process is to its memory limit, and what is to come.
 *
 * The limit is the tightest of: the memory limits of the process's control group and its ancestors, what the machine
 * has left, and what pm_limit_set or the options limit_soft and limit_hard say. A thread of the library looks at it
 * some times a second once the heap is large, or once one of the functions below has asked for it; see the options
 * worker and worker_start_bytes. */
enum pm_pressure {
  PM_PRESSURE_CALM = 0,
  PM_PRESSURE_MODERATE = 1,
  PM_PRESSURE_HIGH = 2,
  PM_PRESSURE_CRITICAL = 3,
  PM_PRESSURE_EMERGENCY = 4 /* an allocation met the limit, or nearly so */
};

enum pm_trend { PM_TREND_FALLING = 0, PM_TREND_STABLE = 1, PM_TREND_RISING = 2, PM_TREND_CRITICAL = 3 };

#define PM_HORIZONS 3
#define PM_NEVER 0xffffffffu /* seconds: not in sight */

struct pm_forecast {
  enum pm_pressure level;
  enum pm_trend trend;
  double confidence;         /* 0 (nothing is known yet) to 1 */
  size_t limit_bytes;        /* SIZE_MAX: none */
  size_t usage_bytes;        /* what counts against it: of the control group, or of the process */
  size_t wanted_bytes;       /* what the program itself should free now; 0 below critical pressure */
  unsigned seconds_to_limit; /* until usage is expected to meet the limit, or PM_NEVER */
  unsigned earliest_seconds; /* its error band */
  unsigned latest_seconds;
  long long growth_bytes_per_second; /* of usage, smoothed */
  size_t allocation_bytes_per_second;
  size_t free_bytes_per_second;
  struct {
    unsigned seconds;        /* from now: 30, 60, 120 */
    size_t demand_bytes;     /* memory the heap is expected to have in use */
    size_t demand_low_bytes; /* and its 90 % interval */
    size_t demand_high_bytes;
    size_t usage_bytes; /* what is expected to count against the limit */
  } horizon[PM_HORIZONS];
};

/* The pressure now, as the latest look found it; takes a first look itself if there was none yet. */
enum pm_pressure pm_pressure_level(void);

/* The latest look and forecast. Returns 0, or -1 with errno EAGAIN if no look could be taken yet. */
int pm_forecast_get(struct pm_forecast* forecast);

/* Calls `callback(now, data)` whenever pressure rises to `level` (moderate to emergency) or higher, and again while the
 * program is wanted to free memory. `now` is valid during the call only.
 *
 * Callbacks run one after the other on a thread of the library's, an ordinary one, which the first subscription starts;
 * all signals are blocked there. They may allocate, free, take locks, and call any function of this header. An
 * exception that leaves one is dropped with a line on stderr. One that does not return within the option
 * callback_seconds is named in a line and not called again until it returns; the others go on. An allocation that meets
 * the limit waits up to 50 ms for callbacks to free memory, so a callback should not wait for a lock that is held while
 * allocating.
 *
 * Returns an id above 0, or -1 with errno EINVAL (no such level, no callback), ENOSPC (32 are subscribed), EAGAIN (no
 * thread) or ENOSYS (the library serves no memory here). Subscriptions do not survive fork(2) in the child. */
typedef void (*pm_pressure_callback)(const struct pm_forecast* now, void* data);
int pm_pressure_subscribe(enum pm_pressure level, pm_pressure_callback callback, void* data);

/* Ends a subscription. When it returns the callback does not run any more, unless it was called from that very callback
 * or the callback was given up as overdue. Returns 0, or -1 with errno ENOENT. */
int pm_pressure_unsubscribe(int id);

/* For event loops: an eventfd(2), non-blocking and closed on exec, that becomes readable whenever pressure rises to
 * `level` or higher. Starts no ordinary thread. To be closed with pm_pressure_eventfd_close. Returns the descriptor, or
 * -1 with errno EINVAL, ENOSPC (16 are open), ENOSYS, or what eventfd reported. */
int pm_pressure_eventfd(enum pm_pressure level);
/* Returns 0, or -1 with errno EBADF if it is no such descriptor. */
int pm_pressure_eventfd_close(int fd);

/* Limits of the program's own, in bytes; 0 for none. `soft` is for the resident memory of the process and is treated as
 * a container's limit is: memory is given back and callbacks are called as it comes nearer; nothing fails. `hard` is
 * for the heap: what it has in use or resident never exceeds it. A request that would fails with ENOMEM after all
 * free memory was given back; the last 512 KiB are kept for requests of up to 4 KiB. A `hard` below what is in use
 * makes requests fail that need more memory from the system. The options limit_soft and limit_hard then tell these
 * limits. Returns 0, or -1 with errno ENOSYS, or EAGAIN in a signal handler that interrupted the allocator. */
int pm_limit_set(size_t soft, size_t hard);

#ifdef __cplusplus
}
#endif
#endif
