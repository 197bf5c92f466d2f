// Catch2 2 (Debian 12) and 3 (newer) name their headers differently; tests include this one.
#ifndef POOLMALLOC_TESTS_CATCH_H_
#define POOLMALLOC_TESTS_CATCH_H_

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#endif  // POOLMALLOC_TESTS_CATCH_H_
