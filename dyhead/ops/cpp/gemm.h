// A small float32 matrix product, C += A * B, for operands that lie in the cache.
//
// B and C are padded: their rows have a multiple of LANES columns. A is read through two steps, so
// that it may be transposed. Every value of C is the same sum in the same order whatever the other
// sizes are: results depend neither on the tiles nor on the number of threads.
#pragma once

#include "simd.h"

namespace dyhead::deform_conv {

struct Left {  // element (row, k) is data[row * row_step + k * k_step]
  const float* data;
  int64_t row_step;
  int64_t k_step;
};

// 6 x 4 accumulators, 4 vectors of B and 1 value of A fill 32 registers; AVX2 has 16.
constexpr int BLOCK_ROWS = 6;
#if defined(__AVX__) && !defined(__AVX512F__)
constexpr int BLOCK_VECTORS = 2;
#else
constexpr int BLOCK_VECTORS = 4;
#endif
constexpr int64_t PANEL = BLOCK_VECTORS * LANES;
constexpr int64_t BLOCK_DEPTH = 128;  // a panel of B of that depth stays in the first-level cache

// Panels of PANEL columns, of which the last may be narrower. A plain matrix has its panels side by
// side; fastest is one panel after the other, each without gaps.
struct Right {
  const float* data;
  int64_t panel_step;
  int64_t row_step;  // within a panel; 0: as wide as the panel
};

template <int ROWS, int VECTORS>
inline void multiply_block(int64_t depth, Left a, const float* b, int64_t b_step, float* c,
                           int64_t c_step) {
  Vec sums[ROWS][VECTORS];
  for (int i = 0; i < ROWS; ++i) {
    for (int j = 0; j < VECTORS; ++j) {
      sums[i][j] = load(c + i * c_step + j * LANES);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec right[VECTORS];
    for (int j = 0; j < VECTORS; ++j) {
      right[j] = load(b + k * b_step + j * LANES);
    }
    for (int i = 0; i < ROWS; ++i) {
      const float left = a.data[i * a.row_step + k * a.k_step];
      for (int j = 0; j < VECTORS; ++j) {
        sums[i][j] += left * right[j];
      }
    }
  }
  for (int i = 0; i < ROWS; ++i) {
    for (int j = 0; j < VECTORS; ++j) {
      store(c + i * c_step + j * LANES, sums[i][j]);
    }
  }
}

template <int VECTORS>
void multiply_panel(int64_t rows, int64_t depth, Left a, const float* b, int64_t b_step, float* c,
                    int64_t c_step) {
  int64_t row = 0;
  const auto next = [&](int done) {
    row += done;
    a.data += done * a.row_step;
    c += done * c_step;
  };
  for (; row + BLOCK_ROWS <= rows; next(BLOCK_ROWS)) {
    multiply_block<BLOCK_ROWS, VECTORS>(depth, a, b, b_step, c, c_step);
  }
  for (; row + 2 <= rows; next(2)) {
    multiply_block<2, VECTORS>(depth, a, b, b_step, c, c_step);
  }
  for (; row < rows; next(1)) {
    multiply_block<1, VECTORS>(depth, a, b, b_step, c, c_step);
  }
}

inline void multiply(int64_t rows, int64_t columns, int64_t depth, Left a, Right b, float* c,
                     int64_t c_step) {
  for (int64_t column = 0; column < columns; column += PANEL) {
    const int64_t width = std::min(PANEL, columns - column);
    const int64_t b_step = b.row_step ? b.row_step : width;
    const float* panel = b.data + column / PANEL * b.panel_step;
    for (int64_t k = 0; k < depth; k += BLOCK_DEPTH) {
      const int64_t block = std::min(BLOCK_DEPTH, depth - k);
      const Left left{a.data + k * a.k_step, a.row_step, a.k_step};
      const float* right = panel + k * b_step;
      float* to = c + column;
      switch (width / LANES) {
        case 1:
          multiply_panel<1>(rows, block, left, right, b_step, to, c_step);
          break;
        case 2:
          multiply_panel<2>(rows, block, left, right, b_step, to, c_step);
          break;
        case 3:
          multiply_panel<3>(rows, block, left, right, b_step, to, c_step);
          break;
        case 4:
          multiply_panel<4>(rows, block, left, right, b_step, to, c_step);
          break;
      }
    }
  }
}

}  // namespace dyhead::deform_conv
