// The kernel of a convolution in the order in which the matrix products of forward read it.
#pragma once

#include "gemm.h"
#include "gemm_bf16.h"
#include "pack.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

namespace dyhead::deform_conv {

// The precision of the matrix product's operands; sums are always float32.
enum class Precision { FLOAT32, BF16, BF16X3 };

constexpr int64_t GROUP_VALUES = 256;  // of a column, sampled before they are multiplied

// The kernel (O, C, taps) as right operand: for every group of taps (group's taps * C, O).
template <Precision PRECISION>
class Kernel {
 public:
  static constexpr bool IS_FLOAT = PRECISION == Precision::FLOAT32;
  static constexpr int PARTS = PRECISION == Precision::BF16X3 ? 2 : 1;
  using Value = std::conditional_t<IS_FLOAT, float, BFloat16>;

  // packed: `packed_tensor` of another one of this weight; without it, it is packed now.
  Kernel(const at::Tensor& weight, const std::optional<at::Tensor>& packed)
      : taps(weight.size(2) * weight.size(3)),
        channels(round_up(weight.size(1), IS_FLOAT ? LANES : DEPTH_BF16)),
        columns(round_up(weight.size(0), IS_FLOAT ? LANES : 16)),
        group(std::min(taps, std::max<int64_t>(GROUP_VALUES / channels, 1))),
        part_size_(taps * channels * columns),
        packed_(packed
                    ? *packed
                    : at::empty({PARTS * part_size_},
                                weight.options().dtype(c10::CppTypeToScalarType<Value>::value))) {
    TORCH_CHECK(packed_.numel() == PARTS * part_size_ &&
                    packed_.scalar_type() == c10::CppTypeToScalarType<Value>::value,
                "packed is of another kernel or precision");
    if (packed) {
      return;
    }
    const int64_t blocks = divide_up(channels, PACKED_CHANNELS);
    at::parallel_for(0, divide_up(columns, WIDTH) * blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t index = begin; index < end; ++index) {
        const int64_t column = index / blocks * WIDTH, channel = index % blocks * PACKED_CHANNELS;
        if (weight.scalar_type() == at::kFloat) {
          pack_block<float>(weight, column, channel);
        } else {
          pack_block<BFloat16>(weight, column, channel);
        }
      }
    });
  }

  at::Tensor packed_tensor() const { return packed_; }

  int64_t group_size(int64_t first_tap) const { return std::min(group, taps - first_tap); }

  // sums (rows, columns) += samples (rows, depth) * this group
  void multiply_group(int64_t first_tap, int64_t rows, const Value* samples, int64_t step,
                      int64_t part_step, float* sums) const {
    const int64_t depth = group_size(first_tap) * channels;
    const Value* panels = packed() + first_tap * channels * columns;
    if constexpr (IS_FLOAT) {
      multiply(rows, columns, depth, {samples, step, 1}, {panels, depth * PANEL, 0}, sums, columns);
    } else {
      if constexpr (PARTS == 2) {  // the small products first; low * low is below float32
        multiply_bf16(rows, columns, depth, samples + part_step, step, panels, sums, columns);
        multiply_bf16(rows, columns, depth, samples, step, panels + part_size_, sums, columns);
      }
      multiply_bf16(rows, columns, depth, samples, step, panels, sums, columns);
    }
  }

  const int64_t taps;
  const int64_t channels;  // padded
  const int64_t columns;   // output channels, padded
  const int64_t group;     // taps that are multiplied together

 private:
  static constexpr int64_t WIDTH = IS_FLOAT ? PANEL : PANEL_BF16;
  // Packed together for all taps, whose values lie side by side: what is read stays in the
  // first-level cache even where columns are a power of two apart.
  static constexpr int64_t PACKED_CHANNELS = 16, PACKED_COLUMNS = 16;

  Value* packed() const { return static_cast<Value*>(packed_.data_ptr()); }

  // Some channels of a panel.
  template <class T>
  void pack_block(const at::Tensor& weight, int64_t panel, int64_t channel) {
    const int64_t width = std::min(WIDTH, columns - panel);
    for (int64_t column = 0; column < width; column += PACKED_COLUMNS) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t first_tap = tap / group * group;
        const int64_t y = tap / weight.size(3), x = tap % weight.size(3);
        const Matrix<T> from{weight.const_data_ptr<T>() + y * weight.stride(2) +
                                 x * weight.stride(3) + (panel + column) * weight.stride(0) +
                                 channel * weight.stride(1),
                             weight.stride(1), weight.stride(0), weight.size(1) - channel,
                             weight.size(0) - panel - column};
        Value* to = packed() + first_tap * channels * columns +
                    panel * group_size(first_tap) * channels + (tap - first_tap) * channels * width;
        pack_block_of_tap(from, channel, column, width, to);
      }
    }
  }

  template <class T>
  void pack_block_of_tap(const Matrix<T>& from, int64_t channel, int64_t column, int64_t width,
                         Value* to) const {
    const int64_t rows = std::min(PACKED_CHANNELS, channels - channel);  // even
    const int64_t count = std::min(PACKED_COLUMNS, width - column);
    const bool is_whole = from.rows >= rows && from.columns >= PACKED_COLUMNS;
    for (int64_t row = 0; row < rows; row += 2) {
      float pair[2 * PACKED_COLUMNS];
      for (int64_t i = 0; i < PACKED_COLUMNS; ++i) {
        pair[i] = is_whole ? from.unchecked(row, i) : from.at(row, i);
        pair[PACKED_COLUMNS + i] = is_whole ? from.unchecked(row + 1, i) : from.at(row + 1, i);
      }
      Value* at = to + (channel + row) * width;
      if constexpr (IS_FLOAT) {
        for (int64_t i = 0; i < count; i += LANES) {
          store(at + column + i, load(pair + i));
          store(at + width + column + i, load(pair + PACKED_COLUMNS + i));
        }
      } else {
        pack_rows(pair, 2, PACKED_COLUMNS, at + 2 * column);
        if constexpr (PARTS == 2) {  // what rounding loses: together 16 of a float's 24 bits
          for (float& value : pair) {
            value -= static_cast<float>(BFloat16(value));
          }
          pack_rows(pair, 2, PACKED_COLUMNS, at + part_size_ + 2 * column);
        }
      }
    }
  }

  const int64_t part_size_;
  at::Tensor packed_;
};

}  // namespace dyhead::deform_conv
