"""What the programs work on, generated: the same in every run, and too large to be kept as files."""

C_FUNCTION = """
static const int table@N@[] = {@TABLE@};
int function@N@(int x, const char *s) {
  int sum = (int)strlen(s);
  for (int i = 0; i < 60; ++i) {
    sum += table@N@[i] ^ (x << (i % 5));
    if (sum % 7 == @N@ % 7) sum -= x;
  }
  switch (x % 11) {
    case 0: sum *= @N@; break;
    case 1: sum += 3 * @N@; break;
    case 2: sum ^= 0x5555 + @N@; break;
    case 3: sum = sum / (@N@ + 1); break;
    case 4: sum -= table@N@[x % 60]; break;
    case 5: for (int i = 0; s[i]; ++i) sum = sum * 31 + s[i]; break;
    default: sum = -sum;
  }
  return sum;
}
"""

CXX_HEAD = """
#include <functional>
#include <iostream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N>
struct Depth {
  using type = std::tuple<typename Depth<N - 1>::type, std::integral_constant<int, N>>;
};
template <>
struct Depth<0> {
  using type = int;
};
"""

CXX_TYPE = """
struct Key@N@ {
  int a;
  std::string b;
  bool operator<(const Key@N@& other) const { return std::tie(a, b) < std::tie(other.a, other.b); }
};

std::size_t use@N@(int n) {
  std::map<Key@N@, std::vector<std::set<Key@N@>>> map;
  std::unordered_map<std::string, std::function<int(int)>> functions;
  for (int i = 0; i < n; ++i) {
    map[{i, std::to_string(i)}].push_back({{i, "x"}});
    functions[std::to_string(i)] = [i](int x) { return x + i + @N@; };
  }
  std::vector<std::variant<int, std::string, Key@N@>> variants{1, std::string("two"), Key@N@{3, "three"}};
  return map.size() + static_cast<std::size_t>(functions["1"](1)) + variants.size() + sizeof(Depth<@N@ + 20>::type);
}
"""


def numbered(template, number):
    return template.replace("@N@", str(number))


def words(count):
    """Lines of pseudo-random words."""
    state, lines = 12345, []
    for number in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        lines.append(f"{state:08x} line {number % 977} {'abcdefghij'[state % 10] * (state % 40)}\n")
    return "".join(lines)


def c_program(functions):
    """One C file with many functions, tables and switches."""
    text = "#include <stdio.h>\n#include <string.h>\n"
    calls = ""
    for number in range(functions):
        table = ", ".join(str(number * i % 9973) for i in range(60))
        text += numbered(C_FUNCTION, number).replace("@TABLE@", table)
        calls += f'  sum += function{number}({number}, "{"x" * (number % 30)}");\n'
    return f'{text}\nint main(void) {{\n  long sum = 0;\n{calls}  printf("%ld\\n", sum);\n  return 0;\n}}\n'


def cxx_program(types):
    """One C++ file with heavy templates: containers of containers of types of its own."""
    text = CXX_HEAD + "".join(numbered(CXX_TYPE, number) for number in range(types))
    calls = "".join(f"  sum += use{number}(100);\n" for number in range(types))
    result = 'std::regex_replace("a1b22", std::regex("[0-9]+"), "#")'
    return f'{text}\nint main() {{\n  std::size_t sum = 0;\n{calls}  std::cout << sum << {result} << "\\n";\n}}\n'


def c_units(count):
    """Many small C files and the one that calls them all: {name: text}."""
    numbers = range(count)
    include = '#include "common.h"\n'
    files = {f"unit{n}.c": f"{include}int unit{n}(int x) {{ return x * {n} + {n % 3}; }}\n" for n in numbers}
    files["common.h"] = "#include <stdio.h>\n" + "".join(f"int unit{n}(int);\n" for n in numbers)
    calls = "".join(f'  printf("%d\\n", unit{n}({n}));\n' for n in numbers)
    files["main.c"] = f"{include}int main(void) {{\n{calls}  return 0;\n}}\n"
    return files


def redis_commands(count):
    """Commands for redis-cli that make values of every type, large and small."""
    return "".join(f"set key:{i} {'v' * (i % 500)}\n"
                   f"rpush list:{i % 50} {i}\n"
                   f"hset hash:{i % 70} field{i} {i * i}\n"
                   f"zadd sorted {i * 37 % 1000} member{i}\n"
                   f"append key:{i // 2} more\n" for i in range(count))


def xml_items(count):
    items = "".join(f'<item id="{i}" group="{i * 7919 % 97}"><name>name {i % 1013}</name>'
                    f"<size>{i * 31 % 5003}</size><note>{'text ' * (i % 9)}</note></item>\n" for i in range(count))
    return f"<items>{items}</items>"
