// The branches of a level as maps of the level's size, one position at a time, upsampled on the
// way.
//
// Shape letters: N images, C channels, H x W the level, h x w a branch. Maps are (N, height, width,
// C), contiguous, float or bfloat16; everything is computed in float.
#pragma once

#include "axis.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/util/BFloat16.h>

#include <cstring>
#include <vector>

namespace dyhead {

using c10::BFloat16;

inline void widen(const float* from, float* to, int64_t count) {
  std::memcpy(to, from, count * sizeof(float));
}

inline void widen(const BFloat16* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = static_cast<uint32_t>(from[i].x) << 16;
    std::memcpy(to + i, &bits, sizeof(float));
  }
}

inline void narrow(const float* from, float* to, int64_t count) {
  std::memcpy(to, from, count * sizeof(float));
}

// Rounds to nearest, ties to even; what is not a number stays so.
inline void narrow(const float* from, BFloat16* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, from + i, sizeof(float));
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    to[i].x = static_cast<uint16_t>(from[i] == from[i] ? rounded : 0x7fc0);
  }
}

// One branch of one level; every thread has its own.
template <class T>
class Branch {
 public:
  Branch(const at::Tensor& map, int64_t level_height, int64_t level_width)
      : data_(map.const_data_ptr<T>()),
        height(map.size(1)),
        width(map.size(2)),
        channels(map.size(3)),
        is_upsampled(height != level_height || width != level_width),
        rows(height, level_height),
        columns(width, level_width),
        blended_(is_upsampled ? width * channels : 0),
        lower_(blended_.size()),
        values_(channels) {}

  // Go to a row of the level.
  void start_row(int64_t image, int64_t row) {
    if (!is_upsampled) {
      row_ = line(image, row);
      return;
    }
    const float share = rows.share[row];
    widen(line(image, rows.low[row]), blended_.data(), blended_.size());
    widen(line(image, rows.high[row]), lower_.data(), lower_.size());
    for (size_t i = 0; i < blended_.size(); ++i) blended_[i] += share * (lower_[i] - blended_[i]);
  }

  // The C values at a column of that row; valid until the next call.
  const float* at(int64_t column) {
    if (is_upsampled) {
      const float* left = blended_.data() + columns.low[column] * channels;
      const float* right = blended_.data() + columns.high[column] * channels;
      const float share = columns.share[column];
      for (int64_t c = 0; c < channels; ++c) values_[c] = left[c] + share * (right[c] - left[c]);
      return values_.data();
    }
    if constexpr (std::is_same_v<T, float>) return row_ + column * channels;
    widen(row_ + column * channels, values_.data(), channels);
    return values_.data();
  }

  const T* line(int64_t image, int64_t row) const {
    return data_ + (image * height + row) * width * channels;
  }

 private:
  const T* data_;
  const T* row_ = nullptr;

 public:
  const int64_t height, width, channels;
  const bool is_upsampled;
  const Axis rows, columns;

 private:
  std::vector<float> blended_, lower_, values_;  // of a row of the branch; of a position
};

// The coefficients of an image: see branch_mix.py.
struct Coefficients {
  std::vector<const float*> scales;  // per branch
  const float *shift, *slope1, *intercept1, *slope2, *intercept2;

  Coefficients(const at::Tensor& scales_, const at::Tensor& dyrelu, int64_t image) {
    const int64_t images = dyrelu.size(1), channels = dyrelu.size(2);
    for (int64_t b = 0; b < scales_.size(0); ++b) {
      scales.push_back(scales_.const_data_ptr<float>() + (b * images + image) * channels);
    }
    const float* row = dyrelu.const_data_ptr<float>() + image * channels;
    const float** all[] = {&shift, &slope1, &intercept1, &slope2, &intercept2};
    for (const float** one : all) {
      *one = row;
      row += images * channels;
    }
  }
};

// All branches of a level, and z of one position.
template <class T>
class Level {
 public:
  Level(at::TensorList maps, int64_t height, int64_t width)
      : channels(maps[0].size(3)), mixed(channels), values(maps.size()) {
    branches.reserve(maps.size());
    for (const at::Tensor& map : maps) branches.emplace_back(map, height, width);
  }

  void start_row(int64_t image, int64_t row) {
    for (auto& branch : branches) branch.start_row(image, row);
  }

  // Fill `values` and `mixed`.
  void mix(const Coefficients& of, int64_t column) {
    for (size_t b = 0; b < branches.size(); ++b) {
      const float* scale = of.scales[b];
      const float* value = values[b] = branches[b].at(column);
      const float* sum = b ? mixed.data() : of.shift;
      for (int64_t c = 0; c < channels; ++c) mixed[c] = sum[c] + scale[c] * value[c];
    }
  }

  const int64_t channels;
  std::vector<Branch<T>> branches;
  std::vector<float> mixed;          // z
  std::vector<const float*> values;  // of every branch
};

// Rows of a level that one task works on: few enough to share the work, many enough to be worth it.
struct RowBlocks {
  static constexpr int64_t ROWS = 8;
  const int64_t height, per_image;

  explicit RowBlocks(int64_t height) : height(height), per_image((height + ROWS - 1) / ROWS) {}
  int64_t image(int64_t task) const { return task / per_image; }
  int64_t begin(int64_t task) const { return task % per_image * ROWS; }
  int64_t end(int64_t task) const { return std::min(begin(task) + ROWS, height); }
};

inline void check_maps(at::TensorList maps) {
  for (const at::Tensor& map : maps) {
    TORCH_CHECK(map.dim() == 4 && map.is_contiguous(),
                "maps must be (N, height, width, C), contiguous");
    TORCH_CHECK(map.scalar_type() == maps[0].scalar_type(), "maps must have one type");
    TORCH_CHECK(map.size(0) == maps[0].size(0) && map.size(3) == maps[0].size(3),
                "maps must agree in N and C");
  }
}

inline void check_coefficients(at::TensorList maps, const at::Tensor& scales,
                               const at::Tensor& dyrelu) {
  const int64_t images = maps[0].size(0), channels = maps[0].size(3);
  const int64_t branches = maps.size();
  for (const at::Tensor& tensor : {scales, dyrelu}) {
    TORCH_CHECK(tensor.is_contiguous() && tensor.scalar_type() == at::kFloat,
                "coefficients must be contiguous float32");
  }
  TORCH_CHECK(scales.sizes() == at::IntArrayRef({branches, images, channels}),
              "scales must be (B, N, C)");
  TORCH_CHECK(dyrelu.sizes() == at::IntArrayRef({5, images, channels}), "dyrelu must be (5, N, C)");
}

// Call `function` with a null pointer of the maps' type.
template <class Function>
auto with_type(const at::Tensor& map, Function function) {
  if (map.scalar_type() == at::kBFloat16) return function(static_cast<BFloat16*>(nullptr));
  TORCH_CHECK(map.scalar_type() == at::kFloat, "maps must be float32 or bfloat16");
  return function(static_cast<float*>(nullptr));
}

}  // namespace dyhead
