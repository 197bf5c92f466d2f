// Every operator new and delete, and what they do when memory is out: the new handler, bad_alloc, nullptr.
#include <sys/resource.h>

#include <new>
#include <string>
#include <vector>

#include "expect.h"

namespace {

// Through a volatile, so that the compiler neither merges nor foresees the calls.
template <typename Function>
Function hidden(Function function) {
  volatile Function kept = function;
  return kept;
}

using New = void* (*)(std::size_t);
using NewNothrow = void* (*)(std::size_t, const std::nothrow_t&) noexcept;
using NewAligned = void* (*)(std::size_t, std::align_val_t);
using NewAlignedNothrow = void* (*)(std::size_t, std::align_val_t, const std::nothrow_t&) noexcept;
using Delete = void (*)(void*) noexcept;
using DeleteSized = void (*)(void*, std::size_t) noexcept;
using DeleteNothrow = void (*)(void*, const std::nothrow_t&) noexcept;
using DeleteAligned = void (*)(void*, std::align_val_t) noexcept;
using DeleteSizedAligned = void (*)(void*, std::size_t, std::align_val_t) noexcept;
using DeleteAlignedNothrow = void (*)(void*, std::align_val_t, const std::nothrow_t&) noexcept;

// One spelling of the family: the single-object operators, or those of arrays.
struct Family {
  New make;
  NewNothrow make_nothrow;
  NewAligned make_aligned;
  NewAlignedNothrow make_aligned_nothrow;
  Delete drop;
  DeleteSized drop_sized;
  DeleteNothrow drop_nothrow;
  DeleteAligned drop_aligned;
  DeleteSizedAligned drop_sized_aligned;
  DeleteAlignedNothrow drop_aligned_nothrow;
};

const Family kFamilies[] = {
    {::operator new, ::operator new, ::operator new, ::operator new, ::operator delete, ::operator delete,
     ::operator delete, ::operator delete, ::operator delete, ::operator delete },
     {::operator new[], ::operator new[], ::operator new[], ::operator new[], ::operator delete[], ::operator delete[],
      ::operator delete[], ::operator delete[], ::operator delete[], ::operator delete[] } };

void* filled(void* object, std::size_t size) {
  EXPECT(object != nullptr);
  EXPECT(is_aligned(object, size >= 16 ? 16 : 8));
  memset(object, 0x42, size);
  return object;
}

void every_pair(const Family& family) {
  for (std::size_t size : {0u, 1u, 16u, 64u, 100u, 1000u, 5000u, 40000u, 300000u, 5000000u}) {
    void* a = filled(hidden(family.make)(size), size);
    void* b = filled(hidden(family.make)(size), size);
    void* c = filled(hidden(family.make_nothrow)(size, std::nothrow), size);
    EXPECT(a != b && b != c && a != c);
    hidden(family.drop)(a);
    hidden(family.drop_sized)(b, size);
    hidden(family.drop_nothrow)(c, std::nothrow);
    for (std::size_t alignment : {8u, 16u, 32u, 64u, 256u, 4096u, 65536u, 2097152u}) {
      const auto value = static_cast<std::align_val_t>(alignment);
      a = filled(hidden(family.make_aligned)(size, value), size);
      b = filled(hidden(family.make_aligned)(size, value), size);
      c = filled(hidden(family.make_aligned_nothrow)(size, value, std::nothrow), size);
      EXPECT(is_aligned(a, alignment) && is_aligned(b, alignment) && is_aligned(c, alignment));
      hidden(family.drop_aligned)(a, value);
      hidden(family.drop_sized_aligned)(b, size, value);
      hidden(family.drop_aligned_nothrow)(c, value, std::nothrow);
    }
  }
  const auto line = static_cast<std::align_val_t>(64);
  hidden(family.drop)(nullptr);
  hidden(family.drop_sized)(nullptr, 8);
  hidden(family.drop_nothrow)(nullptr, std::nothrow);
  hidden(family.drop_aligned)(nullptr, line);
  hidden(family.drop_sized_aligned)(nullptr, 8, line);
  hidden(family.drop_aligned_nothrow)(nullptr, line, std::nothrow);
}

template <typename Exception, typename Call>
bool throws(Call call) {
  try {
    opaque(call());
  } catch (const Exception&) {
    return true;
  }
  return false;
}

int handler_calls = 0;
struct Refusal {};

// Gives up at the third call, as a handler does that ran out of caches to drop.
void gives_up() {
  if (++handler_calls == 3) std::set_new_handler(nullptr);
}

void throws_bad_alloc() {
  ++handler_calls;
  throw std::bad_alloc();
}

void throws_its_own() {
  ++handler_calls;
  throw Refusal();
}

// Lifts the limit at the third call: from then on the request can be met.
void makes_room() {
  if (++handler_calls < 3) return;
  rlimit limit{};
  EXPECT(getrlimit(RLIMIT_AS, &limit) == 0);
  limit.rlim_cur = limit.rlim_max;
  EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
}

void impossible_sizes(const Family& family) {
  const auto line = static_cast<std::align_val_t>(64);
  for (std::size_t size : {static_cast<std::size_t>(PTRDIFF_MAX) + 1, SIZE_MAX - 100, SIZE_MAX}) {
    size = opaque_size(size);
    auto plain = [&] { return hidden(family.make)(size); };
    auto aligned = [&] { return hidden(family.make_aligned)(size, line); };

    std::set_new_handler(nullptr);
    EXPECT(throws<std::bad_alloc>(plain));
    EXPECT(throws<std::bad_alloc>(aligned));
    EXPECT(hidden(family.make_nothrow)(size, std::nothrow) == nullptr);
    EXPECT(hidden(family.make_aligned_nothrow)(size, line, std::nothrow) == nullptr);

    handler_calls = 0;
    std::set_new_handler(gives_up);
    EXPECT(throws<std::bad_alloc>(plain) && handler_calls == 3);
    handler_calls = 0;
    std::set_new_handler(gives_up);
    EXPECT(throws<std::bad_alloc>(aligned) && handler_calls == 3);
    handler_calls = 0;
    std::set_new_handler(gives_up);
    EXPECT(hidden(family.make_nothrow)(size, std::nothrow) == nullptr && handler_calls == 3);

    // What the handler throws reaches the caller, but not out of a nothrow form.
    handler_calls = 0;
    std::set_new_handler(throws_its_own);
    EXPECT(throws<Refusal>(plain) && handler_calls == 1);
    EXPECT(throws<Refusal>(aligned) && handler_calls == 2);
    handler_calls = 0;
    std::set_new_handler(throws_bad_alloc);
    EXPECT(throws<std::bad_alloc>(plain) && handler_calls == 1);
    EXPECT(hidden(family.make_nothrow)(size, std::nothrow) == nullptr && handler_calls == 2);
    EXPECT(hidden(family.make_aligned_nothrow)(size, line, std::nothrow) == nullptr && handler_calls == 3);
    std::set_new_handler(nullptr);
  }
}

void expressions() {
  struct alignas(128) Wide {
    char bytes[300];
  };
  for (int i = 0; i < 1000; ++i) {
    auto* wide = new Wide;
    EXPECT(is_aligned(opaque(wide), 128));
    delete wide;
    auto* many = new Wide[5];
    EXPECT(is_aligned(opaque(many), 128));
    delete[] many;
    auto* text = new std::string(static_cast<std::size_t>(i), 'x');
    opaque(text);
    delete text;
  }
  std::vector<int> numbers;
  EXPECT(throws<std::bad_alloc>([&] {
    numbers.reserve(opaque_size(PTRDIFF_MAX / sizeof(int)));
    return numbers.data();
  }));
}

// Runs in a process that was started under a limit, because an allocator may reserve address space only once.
int under_a_limit() {
  handler_calls = 0;
  std::set_new_handler(makes_room);
  const std::size_t size = std::size_t{2} << 30;
  void* object = hidden(kFamilies[0].make)(size);
  EXPECT(object != nullptr && handler_calls == 3);
  hidden(kFamilies[0].drop_sized)(object, size);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) return under_a_limit();
  for (const Family& family : kFamilies) {
    every_pair(family);
    impossible_sizes(family);
  }
  expressions();

  rlimit limit{};
  EXPECT(getrlimit(RLIMIT_AS, &limit) == 0);
  limit.rlim_cur = rlim_t{1} << 30;
  EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
  execl("/proc/self/exe", argv[0], "limited", nullptr);
  expect_failed(__FILE__, __LINE__, "execl to replace the program");
}
