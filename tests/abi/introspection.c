/* mallinfo, mallinfo2, malloc_info, malloc_stats, mallopt and malloc_trim speak about this heap, and agree with the
 * kernel. */
#include <malloc.h>

#include "expect.h"

enum { kMiB = 1 << 20, kBlock = 1000, kBlocks = 100 * kMiB / kBlock + 1, kLarge = 64, kRecords = 32768 };

static char* blocks[kBlocks];
static char record[kRecords];

static size_t mapped(void) {
  struct mallinfo2 info = mallinfo2();
  return info.arena + info.hblkhd;
}

/* Within 5 % of what the heap grew by, and 2 MiB for caches and for pages that are not the heap's. */
static void expect_agreement(size_t heap_before, size_t resident_before) {
  double heap = (double)mapped() - (double)heap_before;
  double resident = (double)resident_bytes() - (double)resident_before;
  double difference = heap > resident ? heap - resident : resident - heap;
  double allowed = 0.05 * (resident > 0 ? resident : -resident) + 2.0 * kMiB;
  if (difference > allowed) dprintf(STDERR_FILENO, "heap grew by %.0f, resident memory by %.0f\n", heap, resident);
  EXPECT(difference <= allowed);
}

/* Reads back what was written to the file, into `record`. */
static size_t read_back(int fd) {
  ssize_t size = pread(fd, record, sizeof record - 1, 0);
  EXPECT(size > 0);
  record[size] = '\0';
  return (size_t)size;
}

static size_t largest_after(const char* key) {
  size_t largest = 0;
  for (const char* at = record; (at = strstr(at, key)) != NULL;) {
    at += strlen(key);
    size_t value = (size_t)strtoull(at, NULL, 10);
    if (value > largest) largest = value;
  }
  return largest;
}

static size_t largest_number(void) {
  size_t largest = 0;
  for (char* at = record; *at != '\0';) {
    if (*at < '0' || *at > '9') {
      ++at;
      continue;
    }
    size_t value = (size_t)strtoull(at, &at, 10);
    if (value > largest) largest = value;
  }
  return largest;
}

static void expect_info(size_t in_use) {
  EXPECT(malloc_info(1, stdout) != 0);
  FILE* file = tmpfile();
  EXPECT(file != NULL);
  EXPECT(malloc_info(0, file) == 0);
  EXPECT(fflush(file) == 0);
  size_t size = read_back(fileno(file));
  fclose(file);
  EXPECT(strncmp(record, "<malloc version=\"1\">", 20) == 0);
  EXPECT(strstr(record + size - 12, "</malloc>") != NULL);
  EXPECT(largest_after("<system type=\"current\" size=\"") >= in_use);
}

/* malloc_stats writes to stderr, in words of its own; the number of bytes in use must be among them. */
static void expect_stats(size_t in_use) {
  char path[] = "/tmp/malloc-stats-XXXXXX";
  int fd = mkstemp(path), kept = dup(STDERR_FILENO);
  EXPECT(fd >= 0 && kept >= 0);
  unlink(path);
  EXPECT(dup2(fd, STDERR_FILENO) == STDERR_FILENO);
  malloc_stats();
  fflush(stderr);
  EXPECT(dup2(kept, STDERR_FILENO) == STDERR_FILENO);
  read_back(fd);
  close(fd);
  close(kept);
  EXPECT(largest_number() >= in_use);
}

static void small_blocks(void) {
  memset(blocks, 1, sizeof blocks);
  size_t heap = mapped(), resident = resident_bytes(), used = mallinfo2().uordblks;
  for (int i = 0; i < kBlocks; ++i) {
    blocks[i] = malloc(kBlock);
    EXPECT(blocks[i] != NULL);
    memset(blocks[i], 1, kBlock);
  }
  struct mallinfo2 info = mallinfo2();
  EXPECT(info.uordblks >= (size_t)kBlocks * kBlock);
  EXPECT(info.uordblks - used <= (size_t)kBlocks * kBlock * 9 / 8 + 2 * kMiB);
  EXPECT(info.arena + info.hblkhd >= info.uordblks);
  expect_agreement(heap, resident);

  struct mallinfo narrow = mallinfo();
  EXPECT((size_t)(unsigned)narrow.uordblks >= (size_t)kBlocks * kBlock);
  EXPECT((size_t)(unsigned)narrow.arena + (size_t)(unsigned)narrow.hblkhd >= (size_t)kBlocks * kBlock);
  expect_info((size_t)kBlocks * kBlock);
  expect_stats((size_t)kBlocks * kBlock);

  /* Free objects are counted as free, not as in use. */
  for (int i = 0; i < kBlocks; i += 2) free(blocks[i]);
  info = mallinfo2();
  EXPECT(info.uordblks - used <= (size_t)kBlocks * kBlock * 5 / 8 + 2 * kMiB);
  EXPECT(info.fordblks >= (size_t)kBlocks * kBlock * 3 / 8);
  for (int i = 1; i < kBlocks; i += 2) free(blocks[i]);
  EXPECT(mallinfo2().uordblks <= used + 2 * kMiB);

  /* What was given back is no longer the heap's. (glibc 2.36 goes on counting it.) */
  malloc_trim(0);
  EXPECT(resident_bytes() < resident + 10 * kMiB);
  expect_agreement(heap, resident);
}

static void large_blocks(void) {
  size_t heap = mapped(), resident = resident_bytes(), used = mallinfo2().uordblks + mallinfo2().hblkhd;
  for (int i = 0; i < kLarge; ++i) {
    blocks[i] = malloc(2 * kMiB);
    EXPECT(blocks[i] != NULL);
    memset(blocks[i], 1, 2 * kMiB);
  }
  struct mallinfo2 info = mallinfo2();
  EXPECT(info.uordblks + info.hblkhd >= used + (size_t)kLarge * 2 * kMiB);
  expect_agreement(heap, resident);
  for (int i = 0; i < kLarge; ++i) free(blocks[i]);
  malloc_trim(0);
  EXPECT(resident_bytes() < resident + 10 * kMiB);
  expect_agreement(heap, resident);
}

/* malloc_trim says 1 when it gave something back. */
static void trim_tells_what_it_did(void) {
  for (int i = 0; i < kBlocks / 4; ++i) {
    blocks[i] = malloc(kBlock);
    memset(blocks[i], 1, kBlock);
  }
  char* top = malloc(kBlock);
  for (int i = 0; i < kBlocks / 4; ++i) free(blocks[i]);
  EXPECT(malloc_trim(0) == 1);
  free(top);
}

int main(void) {
  EXPECT(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
  EXPECT(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
  EXPECT(mallopt(M_ARENA_MAX, 1) == 1);
  large_blocks();
  small_blocks();
  trim_tells_what_it_did();
  return 0;
}
