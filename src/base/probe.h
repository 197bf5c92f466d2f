// Static probes (USDT) for bpftrace, perf and SystemTap: a nop in the code and a note in the file, which says where it
// is and where its arguments are. Nothing is tested, called or stored while nobody looks.
//
// The macro comes from SystemTap's header, which is needed to build only; without it there are no probes.
#pragma once

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define PM_PROBE(name, first, second) DTRACE_PROBE2(poolmalloc, name, first, second)
#endif
#endif
#ifndef PM_PROBE
#define PM_PROBE(name, first, second) static_cast<void>(0)
#endif
