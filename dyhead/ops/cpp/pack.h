// Bring a matrix into the order in which the matrix products read their right operand.
#pragma once

#include "simd.h"

namespace dyhead::deform_conv {

// Element (row, column) is data[row * row_step + column * column_step].
template <class T>
struct Matrix {
  const T* data;
  int64_t row_step;
  int64_t column_step;
  int64_t rows;
  int64_t columns;

  float unchecked(int64_t row, int64_t column) const {
    return static_cast<float>(data[row * row_step + column * column_step]);
  }

  float at(int64_t row, int64_t column) const {
    return row < rows && column < columns ? unchecked(row, column) : 0.0f;
  }
};

// Row by row, padded with zeros to `rows` x `width`.
template <class T>
void pack(const Matrix<T>& from, int64_t rows, int64_t width, float* to) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      to[row * width + column] = from.at(row, column);
    }
  }
}

// In pairs of rows, padded with zeros to `rows` x `width`.
template <class T>
void pack(const Matrix<T>& from, int64_t rows, int64_t width, BFloat16* to) {
  for (int64_t row = 0; row < rows; row += 2) {
    for (int64_t column = 0; column < width; ++column, to += 2) {
      to[0] = BFloat16(from.at(row, column));
      to[1] = BFloat16(from.at(row + 1, column));
    }
  }
}

// The same for a float matrix whose rows lie in memory one after the other: many values at a time.
inline void pack_rows(const float* from, int64_t rows, int64_t width, BFloat16* to) {
  for (int64_t row = 0; row < rows; row += 2, from += 2 * width) {
    for (int64_t column = 0; column < width; column += LANES, to += 2 * LANES) {
      const Words upper = __builtin_convertvector(narrow(load(from + width + column)), Words);
      const Words lower = __builtin_convertvector(narrow(load(from + column)), Words);
      const Words pairs = (upper << 16) | lower;  // little endian: the even row comes first
      std::memcpy(to, &pairs, sizeof(pairs));
    }
  }
}

}  // namespace dyhead::deform_conv
