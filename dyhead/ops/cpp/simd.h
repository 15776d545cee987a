// Vectors of floats as wide as the processor has them, in the compiler's own notation: the same
// source becomes AVX-512, AVX2, SSE or NEON.
#pragma once

#include <c10/util/BFloat16.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace dyhead {

using c10::BFloat16;

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef uint32_t Words __attribute__((vector_size(LANES * 4)));
typedef uint16_t HalfWords __attribute__((vector_size(LANES * 2)));

// A bfloat16 is the upper half of a float.
inline Vec widen(HalfWords halves) { return (Vec)(__builtin_convertvector(halves, Words) << 16); }

// To the nearest, ties to even, as torch rounds.
inline HalfWords narrow(Vec value) {
#ifdef __AVX512BF16__
  return (HalfWords)_mm512_cvtneps_pbh((__m512)value);
#else
  const Words bits = (Words)value;
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Words not_a_number = (Words)(value != value);
  return __builtin_convertvector((rounded & ~not_a_number) | (0x7fc0 & not_a_number), HalfWords);
#endif
}

inline Vec load(const float* from, int64_t count = LANES) {
  Vec value = {};
  std::memcpy(&value, from, count * sizeof(float));
  return value;
}

inline Vec load(const BFloat16* from, int64_t count = LANES) {
  HalfWords halves = {};
  std::memcpy(&halves, from, count * sizeof(BFloat16));
  return widen(halves);
}

inline void store(float* to, Vec value, int64_t count = LANES) {
  std::memcpy(to, &value, count * sizeof(float));
}

inline void store(BFloat16* to, Vec value, int64_t count = LANES) {
  const HalfWords halves = narrow(value);
  std::memcpy(to, &halves, count * sizeof(BFloat16));
}

// Call step(first, count) for every vector of `values` values: all are full but perhaps the last.
// `count` is a constant to the compiler in the full ones.
template <class Step>
inline void for_each_vector(int64_t values, const Step& step) {
  int64_t first = 0;
  for (; first + LANES <= values; first += LANES) {
    step(first, std::integral_constant<int64_t, LANES>());
  }
  if (first < values) {
    step(first, values - first);
  }
}

inline int64_t divide_up(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

inline int64_t round_up(int64_t value, int64_t multiple) {
  return divide_up(value, multiple) * multiple;
}

}  // namespace dyhead
