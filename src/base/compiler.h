// Names for what the compiler offers, so that the rest reads as plain C++.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PM_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PM_SANITIZED 1
#endif
#endif
#ifndef PM_SANITIZED
#define PM_SANITIZED 0
#endif

#define PM_LIKELY(x) __builtin_expect(!!(x), 1)
#define PM_UNLIKELY(x) __builtin_expect(!!(x), 0)

// Hot: on the path of every malloc and free, inlined into it. Cold: never inlined, laid out apart.
#define PM_HOT __attribute__((always_inline)) inline
#define PM_COLD __attribute__((noinline, cold))
// Every process runs it: laid out beside the hot code wherever it is written (preload/layout.ld).
#define PM_START __attribute__((noinline, section(".text.hot.start")))
// A small process never runs it: laid out with the rare files.
#define PM_RARE __attribute__((noinline, cold, section(".text.rare")))
// On a table of which a small process uses a row or nothing: laid out behind the other variables.
#define PM_WIDE __attribute__((section(".bss.wide")))
// On a variable that several files share: tells the compiler that it is not another library's, so that one instruction
// reaches it. (-fvisibility=hidden speaks for definitions only.)
#define PM_SHARED __attribute__((visibility("hidden")))
