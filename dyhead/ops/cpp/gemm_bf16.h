// The bfloat16 matrix product with float32 sums, C += A * B, by the oneDNN that torch carries.
//
// oneDNN picks AMX or AVX512_BF16 at run time. B is in "VNNI" order, as those instructions take it:
// two consecutive rows interleaved, element (k, j) at [k / 2][j][k % 2], in panels of PANEL_BF16
// columns. Depths are multiples of DEPTH_BF16 and widths of 16, padded with zeros.
#pragma once

#include "simd.h"

#include <ATen/native/CPUBlas.h>

namespace dyhead::deform_conv {

constexpr int64_t PANEL_BF16 = 64;
constexpr int64_t DEPTH_BF16 = 32;

#ifdef CPUBLAS_BRGEMM_BF16BF16F32

inline void multiply_bf16(int64_t rows, int64_t columns, int64_t depth, const BFloat16* a,
                          int64_t a_step, const BFloat16* b, float* c, int64_t c_step,
                          bool add = true) {
  for (int64_t column = 0; column < columns; column += PANEL_BF16) {
    const int64_t width = std::min(PANEL_BF16, columns - column);
    at::native::cpublas::brgemm(rows, width, depth, a_step, width, c_step, add, a,
                                b + column * depth, c + column, true);
  }
}

// Give back the matrix unit's state; every thread, when it is done.
inline void release_bf16() { at::native::cpublas::brgemm_release(true); }

// Tells if the product above works on this processor, by trying: torch does not say.
inline bool probe_bf16() {
  constexpr int64_t N = 16, K = DEPTH_BF16;
  BFloat16 a[K], b[N * K];
  float c[N] = {};
  for (int64_t k = 0; k < K; ++k) {
    a[k] = BFloat16(float(k + 1));
    for (int64_t j = 0; j < N; ++j) {
      b[(k / 2 * N + j) * 2 + k % 2] = BFloat16(float(k % 3 + j));
    }
  }
  try {
    multiply_bf16(1, N, K, a, K, b, c, N);
    release_bf16();
  } catch (const std::exception&) {
    return false;
  }
  for (int64_t j = 0; j < N; ++j) {
    float expected = 0;
    for (int64_t k = 0; k < K; ++k) {
      expected += float(k + 1) * float(k % 3 + j);
    }
    if (c[j] != expected) {
      return false;
    }
  }
  return true;
}

#else  // torch before 2.7

inline void multiply_bf16(int64_t, int64_t, int64_t, const BFloat16*, int64_t, const BFloat16*,
                          float*, int64_t, bool = true) {}
inline void release_bf16() {}
inline bool probe_bf16() { return false; }

#endif

inline bool bf16_product_works() {
  static const bool works = probe_bf16();
  return works;
}

}  // namespace dyhead::deform_conv
