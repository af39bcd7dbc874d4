// Element types: their table, how a number becomes an element, and the conversions of the small floats.

#include "../csrc/dtype.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <complex>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "judemap/float.h"

namespace {

using judemap::BFloat16;
using judemap::fill_pattern;
using judemap::Float16;
using judemap::Float8E4M3FN;
using judemap::Float8E5M2;

struct Type {
  std::uint32_t number;
  const char* name;
  std::size_t bytes;
};

constexpr Type kTypes[] = {
#define TYPE(suffix, number, name, bytes, type) {JM_##suffix, name, bytes},
    JM_DTYPES(TYPE)
#undef TYPE
};

TEST(Types, NumbersNamesAndSizes) {
  const std::vector<std::pair<std::string, std::size_t>> expected = {
      {"float32", 4}, {"float64", 8},       {"int32", 4},       {"int64", 8},    {"uint8", 1},    {"int8", 1},
      {"uint16", 2},  {"int16", 2},         {"bool", 1},        {"float16", 2},  {"bfloat16", 2}, {"uint32", 4},
      {"uint64", 8},  {"float8_e4m3fn", 1}, {"float8_e5m2", 1}, {"complex64", 8}};
  ASSERT_EQ(std::size(kTypes), expected.size());
  for (std::uint32_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(kTypes[i].number, i);
    EXPECT_EQ(kTypes[i].name, expected[i].first);
    EXPECT_EQ(kTypes[i].bytes, expected[i].second);
    EXPECT_EQ(judemap::item_size(i), expected[i].second);
    EXPECT_EQ(jm_item_size(i), expected[i].second);
    EXPECT_STREQ(jm_dtype_name(i), expected[i].first.c_str());
  }
  for (const std::uint32_t unknown : {16u, 17u, 0x80000000u, 0xFFFFFFFFu}) {
    EXPECT_EQ(jm_item_size(unknown), 0u);
    EXPECT_EQ(jm_dtype_name(unknown), nullptr);
    std::uint64_t pattern = 7;
    EXPECT_EQ(fill_pattern(unknown, 1, &pattern), JM_ERR_DTYPE);
    EXPECT_EQ(pattern, 7u);
  }
}

// The pattern of `size` bytes `element`.
std::uint64_t repeated(std::uint64_t element, std::size_t size) {
  for (std::size_t bits = 8 * size; bits < 64; bits *= 2) element |= element << bits;
  return element;
}

template <class T>
std::uint64_t bits_of(T element) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &element, sizeof element);
  return bits;
}

TEST(FillPattern, Values) {
  const double inf = INFINITY;
  const struct {
    std::uint32_t dtype;
    double value;
    std::uint64_t element;
  } cases[] = {
      {JM_FLOAT32, 1.5, 0x3FC00000},
      {JM_FLOAT32, -0.0, 0x80000000},
      {JM_FLOAT32, std::numeric_limits<float>::max(), 0x7F7FFFFF},
      {JM_FLOAT32, 1e-60, 0},
      {JM_FLOAT32, -inf, 0xFF800000},
      {JM_FLOAT32, NAN, 0x7FC00000},
      {JM_FLOAT64, 0.1, 0x3FB999999999999A},
      {JM_FLOAT64, -std::numeric_limits<double>::max(), 0xFFEFFFFFFFFFFFFF},
      {JM_FLOAT64, inf, 0x7FF0000000000000},
      {JM_FLOAT64, NAN, 0x7FF8000000000000},
      {JM_INT32, 2147483647.9, 0x7FFFFFFF},
      {JM_INT32, -2147483648.9, 0x80000000},
      {JM_INT64, 9223372036854774784.0, 0x7FFFFFFFFFFFFC00},
      {JM_INT64, -9223372036854775808.0, 0x8000000000000000},
      {JM_UINT8, 255.9, 255},
      {JM_UINT8, -0.9, 0},
      {JM_INT8, 127.9, 127},
      {JM_INT8, -128.9, 0x80},
      {JM_UINT16, 65535.9, 65535},
      {JM_UINT16, -0.9, 0},
      {JM_INT16, -3.7, 0xFFFD},
      {JM_INT16, 32767.9, 0x7FFF},
      {JM_INT16, -32768.9, 0x8000},
      {JM_BOOL, 0, 0},
      {JM_BOOL, -0.0, 0},
      {JM_BOOL, 1, 1},
      {JM_BOOL, 0.2, 1},
      {JM_BOOL, 5, 1},
      {JM_BOOL, -1, 1},
      {JM_BOOL, 5e-324, 1},
      {JM_BOOL, inf, 1},
      {JM_BOOL, NAN, 1},
      {JM_FLOAT16, 1, 0x3C00},
      {JM_FLOAT16, -65504, 0xFBFF},
      {JM_FLOAT16, 0x1p-24, 1},
      {JM_FLOAT16, 0x1p-25, 0},                 // a tie
      {JM_FLOAT16, 0x1.0000001p-25, 1},         // just above it
      {JM_FLOAT16, -1e-300, 0x8000},            //
      {JM_FLOAT16, 0x1.002p0, 0x3C00},          // a tie, to the even one below
      {JM_FLOAT16, 0x1.006p0, 0x3C02},          // a tie, to the even one above
      {JM_FLOAT16, 0x1.00200000001p0, 0x3C01},  // rounded to float32 first, this is a tie
      {JM_FLOAT16, inf, 0x7C00},
      {JM_FLOAT16, -inf, 0xFC00},
      {JM_FLOAT16, NAN, 0x7E00},
      {JM_BFLOAT16, 1, 0x3F80},
      {JM_BFLOAT16, 0x1.FEp127, 0x7F7F},
      {JM_BFLOAT16, 0x1p-133, 1},
      {JM_BFLOAT16, 0x1.0100000001p0, 0x3F81},  // rounded to float32 first, this is a tie
      {JM_BFLOAT16, -inf, 0xFF80},
      {JM_BFLOAT16, NAN, 0x7FC0},
      {JM_UINT32, 4294967295.9, 0xFFFFFFFF},
      {JM_UINT32, -0.9, 0},
      {JM_UINT64, 18446744073709549568.0, 0xFFFFFFFFFFFFF800},
      {JM_UINT64, -0.9, 0},
      {JM_FLOAT8_E4M3FN, 448, 0x7E},
      {JM_FLOAT8_E4M3FN, -448, 0xFE},
      {JM_FLOAT8_E4M3FN, 0x1p-9, 1},
      {JM_FLOAT8_E4M3FN, 0x1p-10, 0},
      {JM_FLOAT8_E4M3FN, 0x1.1000000001p0, 0x39},
      {JM_FLOAT8_E4M3FN, NAN, 0x7F},
      {JM_FLOAT8_E5M2, 57344, 0x7B},
      {JM_FLOAT8_E5M2, 0x1p-16, 1},
      {JM_FLOAT8_E5M2, inf, 0x7C},
      {JM_FLOAT8_E5M2, -inf, 0xFC},
      {JM_FLOAT8_E5M2, NAN, 0x7E},
      {JM_COMPLEX64, -1.5, 0x00000000BFC00000},  // the real part comes first
      {JM_COMPLEX64, inf, 0x000000007F800000},
      {JM_COMPLEX64, NAN, 0x000000007FC00000},
  };
  std::set<std::uint32_t> seen;
  for (const auto& c : cases) {
    SCOPED_TRACE(std::to_string(c.value) + " in type " + std::to_string(c.dtype));
    std::uint64_t pattern = 0;
    ASSERT_EQ(fill_pattern(c.dtype, c.value, &pattern), JM_OK);
    EXPECT_EQ(pattern, repeated(c.element, judemap::item_size(c.dtype)));
    seen.insert(c.dtype);
  }
  EXPECT_EQ(seen.size(), std::size(kTypes)) << "a type has no case";
}

TEST(FillPattern, ValuesThatTheTypeCannotHold) {
  const double inf = INFINITY, huge = 1e300;
  const struct {
    std::uint32_t dtype;
    std::vector<double> values;
  } cases[] = {
      {JM_FLOAT32, {0x1.FFFFFF0000001p127, -3.5e38, huge}},
      {JM_INT32, {2147483648.0, -2147483649.0, huge, NAN, inf, -inf}},
      {JM_INT64, {9223372036854775808.0, -9223372036854777856.0, huge, NAN, inf, -inf}},
      {JM_UINT8, {256, 300, -1, huge, NAN, inf, -inf}},
      {JM_INT8, {128, -129, huge, NAN, inf, -inf}},
      {JM_UINT16, {65536, -1, huge, NAN, inf, -inf}},
      {JM_INT16, {32768, -32769, huge, NAN, inf, -inf}},
      {JM_FLOAT16, {65504.1, -65505, huge}},
      {JM_BFLOAT16, {0x1.FE00000001p127, -0x1.FFp127, huge}},
      {JM_UINT32, {4294967296.0, -1, huge, NAN, inf, -inf}},
      {JM_UINT64, {18446744073709551616.0, -1, huge, NAN, inf, -inf}},
      {JM_FLOAT8_E4M3FN, {448.1, -449, huge, inf, -inf}},
      {JM_FLOAT8_E5M2, {57344.1, -60000, huge}},
      {JM_COMPLEX64, {3.5e38, -3.5e38, huge}},
  };
  for (const auto& c : cases) {
    for (const double value : c.values) {
      std::uint64_t pattern = 7;
      EXPECT_EQ(fill_pattern(c.dtype, value, &pattern), JM_ERR_RANGE) << value << " in type " << c.dtype;
      EXPECT_EQ(pattern, 7u);
    }
  }
}

// A fill reaches every element, also of tensors that are no whole number of patterns long.
TEST(FillPattern, ReachesEveryElement) {
  constexpr std::uint64_t kCapacity = 1 << 16;
  jm_segment* segment = nullptr;
  ASSERT_EQ(jm_new(kCapacity, 0, &segment), JM_OK);
  for (const Type& type : kTypes) {
    for (const std::uint64_t n :
         {std::uint64_t{1}, std::uint64_t{3}, std::uint64_t{16}, std::uint64_t{1001}, kCapacity / type.bytes}) {
      SCOPED_TRACE(std::string(type.name) + ", " + std::to_string(n));
      std::uint64_t pattern;
      ASSERT_EQ(fill_pattern(type.number, 1, &pattern), JM_OK);
      ASSERT_EQ(jm_fill(segment, &n, 1, type.number, 1), JM_OK);
      jm_tensor tensor;
      ASSERT_EQ(jm_read(segment, &tensor), JM_OK);
      ASSERT_EQ(tensor.dtype, type.number);
      ASSERT_EQ(tensor.byte_length, n * type.bytes);
      for (std::uint64_t i = 0; i < n; ++i) {
        ASSERT_EQ(std::memcmp(static_cast<const char*>(tensor.data) + i * type.bytes, &pattern, type.bytes), 0) << i;
      }
    }
  }
  jm_free(segment);
}

// The rest compares with testdata/floats.txt, which test/float_vectors.py makes and explains.

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  return x ^ x >> 31;
}

std::uint64_t random_bits(std::uint64_t i) { return mix((i + 1) * 0x9E3779B97F4A7C15); }

class Checksum {
 public:
  void add(std::uint32_t result) { sum_ += mix(count_++ << 32 | result); }
  std::uint64_t sum() const { return sum_; }

 private:
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
};

template <class To, class From>
To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <class Float>
std::uint32_t encoded(double number) {
  const Float element = Float::from(number);
  if (!std::isnan(element.to_float())) return element.bits;
  return (element.bits & Float::kSign) != 0 ? 0xFFFFFFFF : 0xFFFFFFFE;
}

template <class Float, class Real, class Word>
void add_around(Checksum* sum, Float element) {
  const double number = element.to_float();
  if (std::isnan(number)) return;
  std::vector<double> points = {number};
  if (std::isfinite(number)) {
    auto bits = element.bits;
    double other = Float{++bits}.to_float();
    if (!std::isfinite(other)) other = Float{static_cast<decltype(bits)>(element.bits - 1)}.to_float();
    points.push_back(number + std::copysign(std::fabs(other - number) / 2, number));
  }
  for (const double point : points) {
    const auto bits = bit_cast<Word>(static_cast<Real>(point));
    for (const Word near : {bits, bits > 0 ? bits - 1 : bits, bits + 1}) {
      sum->add(encoded<Float>(bit_cast<Real>(static_cast<Word>(near))));
    }
  }
}

template <class Float>
std::uint64_t result(const std::string& what, std::uint64_t block) {
  Checksum sum;
  if (what == "random32" || what == "random64") {
    for (std::uint64_t i = 65536 * block; i < 65536 * (block + 1); ++i) {
      const std::uint64_t bits = random_bits(i);
      if (what == "random32") {
        sum.add(encoded<Float>(bit_cast<float>(static_cast<std::uint32_t>(bits))));
      } else {
        const std::uint64_t exponent = (bits >> 52) % 300 + 1023 - 150;
        sum.add(encoded<Float>(bit_cast<double>((bits & 0x800FFFFFFFFFFFFF) | exponent << 52)));
      }
    }
    return sum.sum();
  }
  for (std::uint64_t i = 256 * block; i < 256 * (block + 1); ++i) {
    const Float element = {static_cast<decltype(Float::bits)>(i)};
    if (what == "decode") {
      const float number = element.to_float();
      const auto bits = bit_cast<std::uint32_t>(number);
      sum.add(!std::isnan(number) ? bits : std::signbit(number) ? 0xFFFFFFFF : 0xFFFFFFFE);
    } else if (what == "encode32") {
      add_around<Float, float, std::uint32_t>(&sum, element);
    } else if (what == "encode64") {
      add_around<Float, double, std::uint64_t>(&sum, element);
    } else {
      ADD_FAILURE() << what;
    }
  }
  return sum.sum();
}

TEST(Floats, ConversionsAreThoseOfNumPy) {
  std::ifstream file(JUDEMAP_TESTDATA "/floats.txt");
  std::string format, what, sum;
  std::uint64_t block;
  int lines = 0;
  while (file >> format >> what >> block >> sum) {
    ++lines;
    std::uint64_t got = 0;
    if (format == "float16") {
      got = result<Float16>(what, block);
    } else if (format == "bfloat16") {
      got = result<BFloat16>(what, block);
    } else if (format == "float8_e4m3fn") {
      got = result<Float8E4M3FN>(what, block);
    } else if (format == "float8_e5m2") {
      got = result<Float8E5M2>(what, block);
    } else {
      ADD_FAILURE() << format;
    }
    EXPECT_EQ(got, std::stoull(sum, nullptr, 16)) << format << ' ' << what << ' ' << block;
  }
  EXPECT_EQ(lines, 2 * (3 * 256 + 2 * 64) + 2 * (3 + 2 * 64));
}

// What a NaN carries survives, except that it becomes quiet.
TEST(Floats, NaN) {
  const float nan = bit_cast<float>(0xFFAA5FFFu);
  EXPECT_EQ(Float16::from(nan).bits, 0xFF52);
  EXPECT_EQ(BFloat16::from(nan).bits, 0xFFEA);
  EXPECT_EQ(Float8E4M3FN::from(nan).bits, 0xFF);
  EXPECT_EQ(Float8E5M2::from(nan).bits, 0xFF);
  EXPECT_EQ(bit_cast<std::uint32_t>(Float16{0xFD52}.to_float()), 0xFFEA4000u);
  EXPECT_EQ(bit_cast<std::uint32_t>(BFloat16{0x7F81}.to_float()), 0x7FC10000u);
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto word = static_cast<std::uint16_t>(bits);
    const Float16 half = Float16::from(Float16{word}.to_float());
    EXPECT_EQ(half.bits, std::isnan(half.to_float()) ? bits | 0x200 : bits);
    const BFloat16 brain = BFloat16::from(BFloat16{word}.to_float());
    EXPECT_EQ(brain.bits, std::isnan(brain.to_float()) ? bits | 0x40 : bits);
  }
}

}  // namespace
