// The test program's main where Catch2 does not bring a library with one (version 2).
#define CATCH_CONFIG_MAIN
#include "tests/catch.h"
