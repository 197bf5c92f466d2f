// What the kernel says about this process and this machine, read with raw system calls. Never allocates.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm::os {

// Bytes of an OS page (4, 16 or 64 KiB, by the auxiliary vector).
size_t page_size();
bool is_secure();                // AT_SECURE: set-user-id and the like
uint64_t random_seed();          // from AT_RANDOM
uint64_t physical_memory();      // bytes of RAM
uint64_t address_space_limit();  // RLIMIT_AS in bytes, UINT64_MAX if unlimited
int overcommit_mode();           // vm.overcommit_memory, 0 if unreadable
uint64_t max_map_count();        // vm.max_map_count, 65530 if unreadable
int process_id();
int thread_id();
// A number that differs between a process and every child forked from it, by whatever system call: what a parent wrote
// down with it is known for the parent's in the child. One page is mapped at the first call.
uint64_t process_generation();
void yield_thread();
void sleep_ns(uint64_t nanoseconds);
uint64_t monotonic_ns();
uint64_t coarse_ns();         // the same clock, some milliseconds behind, at a tenth of the price
uint64_t wall_clock_ns();     // since 1970
uint64_t process_start_ns();  // when the process began, since 1970; 0 if unreadable
// The path of the program's file; its length, or -errno.
long executable_path(char* buffer, size_t size);
uint64_t process_resident_bytes();  // of the process, what is not ours included; 0 if unreadable
// A variable as the process was started with it, read from the kernel: safe beside setenv(3). False if it was not set,
// or does not fit.
bool initial_variable(const char* name, char* value, size_t size);
// The environment: libc's `environ`.
char** environment();

// Reads at most size-1 bytes of a small file and ends them with a zero. Returns the length, or -errno.
long read_small_file(const char* path, char* buffer, size_t size);
// Writes everything, over short writes and EINTR. Returns 0 or -errno.
long write_all(int fd, const char* data, size_t size);

// Creates or empties a file for writing (0600, closed on exec). The descriptor, or -errno.
int create_file(const char* path);
void close_file(int fd);
// A copy of a descriptor, out of the way of the program's own (closed on exec), or -errno.
int keep_file(int fd);

[[noreturn]] void abort_process();

}  // namespace pm::os
