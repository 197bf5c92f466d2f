#include "preload/launcher/function_name.h"

#include "tests/catch.h"

namespace {

using pm::function_name;

TEST_CASE("C++ names are demangled without parameters") {
  CHECK(function_name("_Znwm") == "operator new");
  CHECK(function_name("_ZN3foo3barIiEEvv") == "foo::bar<int>");
  CHECK(function_name("_ZN12_GLOBAL__N_15plantEv") == "(anonymous namespace)::plant");
  CHECK(function_name("_ZZ4mainENKUlvE_clEv") == "main::{lambda()#1}::operator()");
}

TEST_CASE("Rust names of both schemes are demangled without their hash") {
  CHECK(function_name("_ZN4core3fmt9Formatter3pad17h1234567890abcdefE") == "core::fmt::Formatter::pad");
  CHECK(function_name("_RNvCs1234_7mycrate3foo") == "mycrate::foo");
  CHECK(function_name("_RNvMs_NtCs4TDlnHZQmkO_5alloc7raw_vecINtB4_6RawVechE8grow_one") ==
        "<alloc::raw_vec::RawVec<u8>>::grow_one");
}

TEST_CASE("other names stay as they are") {
  for (const char* name : {"main", "_start", "PyObject_Malloc", "_Z", "_ZN3foo", "_R", "", ".cold"}) {
    CHECK(function_name(name) == name);
  }
}

TEST_CASE("parts of a function have its name") {
  CHECK(function_name("_ZN3foo3barEi.constprop.0.isra.0") == "foo::bar");
  CHECK(function_name("parse.cold") == "parse");
  CHECK(function_name("parse.part.3") == "parse");
}

}  // namespace
