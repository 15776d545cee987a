// The two matrix products of backward, for one tile of output positions and one slice of channels:
// the gradient of the samples from that of the output, and that of the kernel from both.
#pragma once

#include "gemm.h"
#include "gemm_bf16.h"
#include "pack.h"
#include "sampling.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <vector>

namespace dyhead::deform_conv {

// The channels, cut into slices that different threads can work on without ever meeting.
class Slices {
 public:
  // Wide slices sample faster: narrow ones are for more threads than images times wide ones.
  Slices(int64_t channels, int64_t batch, int64_t threads) : channels_(channels) {
    width_ = std::min<int64_t>(WIDEST, round_up(channels, NARROWEST));
    while (width_ > NARROWEST && width_ % (2 * NARROWEST) == 0 && batch * count() < threads) {
      width_ /= 2;
    }
  }

  int64_t count() const { return divide_up(channels_, width_); }
  int64_t width() const { return width_; }  // padded to a multiple of 16
  int64_t first(int64_t slice) const { return slice * width_; }
  int64_t channels(int64_t slice) const { return std::min(width_, channels_ - first(slice)); }

 private:
  static constexpr int64_t WIDEST = 64, NARROWEST = 16;
  int64_t channels_, width_;
};

// The kernel (O, C, taps) as right operand: for every tap and slice (O, slice's channels).
template <class Value>
at::Tensor pack_transposed_kernel(const Shape& shape, const Slices& slices,
                                  const at::Tensor& weight, int64_t rows) {
  const at::Tensor packed =
      at::empty({shape.taps, slices.count(), rows * slices.width()},
                weight.options().dtype(c10::CppTypeToScalarType<Value>::value));
  // Some rows of all taps together, whose values lie side by side.
  constexpr int64_t ROWS = 16;
  const int64_t blocks = divide_up(rows, ROWS), width = slices.width();
  at::parallel_for(0, blocks * slices.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t slice = index / blocks, row = index % blocks * ROWS;
      for (int64_t tap = 0; tap < shape.taps; ++tap) {
        const Matrix<float> from{
            weight.const_data_ptr<float>() + shape.tap_offset(weight, tap) +
                row * weight.stride(0) + slices.first(slice) * weight.stride(1),
            weight.stride(0), weight.stride(1), shape.out_channels - row, slices.channels(slice)};
        Value* to =
            packed.data_ptr<Value>() + ((tap * slices.count() + slice) * rows + row) * width;
        pack(from, std::min(ROWS, rows - row), width, to);
      }
    }
  });
  return packed;
}

template <class Value>
class BackwardProducts;

template <>
class BackwardProducts<float> {
 public:
  static constexpr int64_t LARGEST_TILE = 126, TILE_MULTIPLE = BLOCK_ROWS;

  BackwardProducts(const Shape& shape, const Tiling&, const Slices& slices,
                   const at::Tensor& grad_output, const at::Tensor& weight)
      : shape_(shape),
        width_(slices.width()),
        slices_(slices.count()),
        grad_output_(grad_output),
        kernel_(pack_transposed_kernel<float>(shape, slices, weight, shape.out_channels)) {}

  // (tile's positions, width)
  void grad_samples(int64_t, const Tile& tile, int64_t tap, int64_t slice, float* to) const {
    const int64_t inner = shape_.out_channels;
    const float* kernel =
        kernel_.const_data_ptr<float>() + (tap * slices_ + slice) * inner * width_;
    const Left grad{rows(tile), inner, 1};
    std::fill(to, to + tile.count * width_, 0.0f);
    multiply(tile.count, width_, inner, grad, {kernel, PANEL, width_}, to, width_);
  }

  // sums (O, width) += grad_output^T * samples (tile's positions, width)
  void add_grad_kernel(int64_t, const Tile& tile, const float* samples, std::vector<float>&,
                       float* sums) const {
    const int64_t outer = shape_.out_channels;
    const Left transposed{rows(tile), 1, outer};
    multiply(outer, width_, tile.count, transposed, {samples, PANEL, width_}, sums, width_);
  }

 private:
  const float* rows(const Tile& tile) const {
    return grad_output_.const_data_ptr<float>() +
           (tile.image * shape_.positions() + tile.first) * shape_.out_channels;
  }

  const Shape& shape_;
  const int64_t width_, slices_;
  const at::Tensor grad_output_, kernel_;
};

template <>
class BackwardProducts<BFloat16> {
 public:
  static constexpr int64_t LARGEST_TILE = 128, TILE_MULTIPLE = DEPTH_BF16;

  BackwardProducts(const Shape& shape, const Tiling& tiling, const Slices& slices,
                   const at::Tensor& grad_output, const at::Tensor& weight)
      : shape_(shape),
        width_(slices.width()),
        slices_(slices.count()),
        tile_size_(tiling.size()),
        inner_(round_up(shape.out_channels, DEPTH_BF16)),
        kernel_(pack_transposed_kernel<BFloat16>(shape, slices, weight, inner_)),
        rows_(at::empty({tiling.count(), tile_size_, inner_}, kernel_.options())),
        columns_(at::empty({tiling.count(), inner_, tile_size_}, kernel_.options())) {
    at::parallel_for(0, tiling.count(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t index = begin; index < end; ++index) {
        pack_tile(index, tiling[index], grad_output);
      }
    });
  }

  void grad_samples(int64_t index, const Tile& tile, int64_t tap, int64_t slice, float* to) const {
    const BFloat16* kernel =
        kernel_.const_data_ptr<BFloat16>() + (tap * slices_ + slice) * inner_ * width_;
    const BFloat16* rows = rows_.const_data_ptr<BFloat16>() + index * tile_size_ * inner_;
    multiply_bf16(round_up(tile.count, 16), width_, inner_, rows, inner_, kernel, to, width_,
                  /*add=*/false);
  }

  void add_grad_kernel(int64_t index, const Tile& tile, float* samples,
                       std::vector<BFloat16>& scratch, float* sums) const {
    const int64_t depth = round_up(tile.count, DEPTH_BF16);
    scratch.resize(tile_size_ * width_);
    std::fill(samples + tile.count * width_, samples + depth * width_, 0.0f);
    pack_rows(samples, depth, width_, scratch.data());
    const BFloat16* columns = columns_.const_data_ptr<BFloat16>() + index * tile_size_ * inner_;
    multiply_bf16(shape_.out_channels, width_, depth, columns, tile_size_, scratch.data(), sums,
                  width_);
  }

 private:
  // Both products read grad_output by rows: here it is, padded with zeros, and its transpose.
  void pack_tile(int64_t index, const Tile& tile, const at::Tensor& grad_output) {
    const int64_t channels = shape_.out_channels;
    const BFloat16* from = grad_output.const_data_ptr<BFloat16>() +
                           (tile.image * shape_.positions() + tile.first) * channels;
    BFloat16* rows = rows_.data_ptr<BFloat16>() + index * tile_size_ * inner_;
    BFloat16* columns = columns_.data_ptr<BFloat16>() + index * tile_size_ * inner_;
    std::fill(rows, rows + tile_size_ * inner_, BFloat16());
    for (int64_t i = 0; i < tile.count; ++i) {
      std::copy(from + i * channels, from + (i + 1) * channels, rows + i * inner_);
    }
    for (int64_t channel = 0; channel < inner_; ++channel) {
      for (int64_t i = 0; i < tile_size_; ++i) {
        columns[channel * tile_size_ + i] = rows[i * inner_ + channel];
      }
    }
  }

  const Shape& shape_;
  const int64_t width_, slices_, tile_size_, inner_;
  const at::Tensor kernel_, rows_, columns_;
};

}  // namespace dyhead::deform_conv
