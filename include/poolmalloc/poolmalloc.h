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

#ifdef __cplusplus
}
#endif
#endif
