// Writes results: to stdout, and to files so that one either is whole or is not there.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_OUTPUT_FILE_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_OUTPUT_FILE_H_

#include <string>
#include <string_view>

namespace pm {

// The end of what a command prints: writes the text, and what was printed before, to stdout. The exit code: `code`, or
// 1 with one line on stderr if not all of it could be written.
int print_output(std::string_view text, int code = 0);

// Writes the text to the file, or to stdout if the path is empty or "-". A regular file is written beside its place and
// renamed when it is on the disk, so that neither a full disk nor a crash leaves half of it, and what was there stays
// until then; anything else (a pipe, a device) is written to as it is. Returns false with one line on stderr.
bool write_output(const std::string& path, std::string_view text);

// The whole content of a file, or of stdin for "-". Returns false with one line on stderr.
bool read_input(const std::string& path, std::string& text);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_OUTPUT_FILE_H_
