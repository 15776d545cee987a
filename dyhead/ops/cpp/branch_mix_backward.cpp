// The passes of a fused block's backward: sums for the coefficients' gradients, then the branches'.
// branch_mix.py says what they compute.

#include "branches.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

namespace dyhead {
namespace {

constexpr int64_t LINEAR_SUMS = 4;  // slope1, intercept1, slope2, intercept2

// The share of the first linear function in a gradient; the second one gets the rest.
inline float first_share(float grad, float first, float second) {
  return first > second ? grad : (first == second ? 0.5f * grad : 0.0f);
}

template <class T>
at::Tensor partial_sums(const at::Tensor& grad_output, at::TensorList maps,
                        const at::Tensor& scales, const at::Tensor& dyrelu) {
  const int64_t images = grad_output.size(0), height = grad_output.size(1),
                width = grad_output.size(2);
  const int64_t channels = grad_output.size(3), branches = maps.size();
  const RowBlocks blocks(height);
  const int64_t kinds = LINEAR_SUMS + branches;
  at::Tensor partial = at::zeros({blocks.per_image, kinds, images, channels}, scales.options());
  at::parallel_for(0, images * blocks.per_image, 1, [&](int64_t first_task, int64_t last_task) {
    Level<T> level(maps, height, width);
    std::vector<float> grad(channels), grad_mixed(channels), row_sums(kinds * channels);
    float *slope1 = row_sums.data(), *intercept1 = slope1 + channels;
    float *slope2 = intercept1 + channels, *intercept2 = slope2 + channels;
    for (int64_t task = first_task; task < last_task; ++task) {
      const int64_t image = blocks.image(task);
      const Coefficients of(scales, dyrelu, image);
      float* sums = partial.mutable_data_ptr<float>() +
                    (task % blocks.per_image * kinds * images + image) * channels;
      for (int64_t y = blocks.begin(task); y < blocks.end(task); ++y) {
        level.start_row(image, y);
        std::fill(row_sums.begin(), row_sums.end(), 0.0f);
        const T* grads = grad_output.const_data_ptr<T>() + (image * height + y) * width * channels;
        for (int64_t x = 0; x < width; ++x) {
          level.mix(of, x);
          widen(grads + x * channels, grad.data(), channels);
          const float *z = level.mixed.data(), *g = grad.data();
          float* dz = grad_mixed.data();
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) {
            const float to_first = first_share(g[c], of.slope1[c] * z[c] + of.intercept1[c],
                                               of.slope2[c] * z[c] + of.intercept2[c]);
            const float to_second = g[c] - to_first;
            slope1[c] += to_first * z[c];
            intercept1[c] += to_first;
            slope2[c] += to_second * z[c];
            intercept2[c] += to_second;
            dz[c] = of.slope1[c] * to_first + of.slope2[c] * to_second;
          }
          for (int64_t b = 0; b < branches; ++b) {
            float* scale = row_sums.data() + (LINEAR_SUMS + b) * channels;
            const float* value = level.values[b];
            for (int64_t c = 0; c < channels; ++c) scale[c] += grad_mixed[c] * value[c];
          }
        }
        for (int64_t kind = 0; kind < kinds; ++kind) {
          float* total = sums + kind * images * channels;
          const float* row = row_sums.data() + kind * channels;
          for (int64_t c = 0; c < channels; ++c) total[c] += row[c];
        }
      }
    }
  });
  return partial.sum(0);  // (kinds, N, C)
}

std::tuple<at::Tensor, at::Tensor> mix_reductions(const at::Tensor& grad_output,
                                                  at::TensorList maps, const at::Tensor& scales,
                                                  const at::Tensor& dyrelu) {
  check_maps(maps);
  check_maps(grad_output);
  check_coefficients(maps, scales, dyrelu);
  TORCH_CHECK(grad_output.scalar_type() == maps[0].scalar_type(),
              "the gradient must have the maps' type");
  const at::Tensor sums = with_type(maps[0], [&](auto* type) {
    return partial_sums<std::remove_pointer_t<decltype(type)>>(grad_output, maps, scales, dyrelu);
  });
  at::Tensor grad_dyrelu = at::empty_like(dyrelu);
  grad_dyrelu.narrow(0, 1, LINEAR_SUMS).copy_(sums.narrow(0, 0, LINEAR_SUMS));
  grad_dyrelu.select(0, 0).copy_(dyrelu.select(0, 1) * sums.select(0, 1) +
                                 dyrelu.select(0, 3) * sums.select(0, 3));
  return {sums.narrow(0, LINEAR_SUMS, maps.size()).contiguous(), grad_dyrelu};
}

// The upsampling transposed. Every block of the level's rows collects into rows of its own, since
// blocks share rows of the branch; `finish` adds them, always in the same order.
class Transposed {
 public:
  Transposed(const at::Tensor& map, const RowBlocks& blocks, int64_t level_width)
      : height_(map.size(1)),
        width_(map.size(2)),
        channels_(map.size(3)),
        blocks_(blocks),
        rows_(height_, blocks.height),
        columns_(width_, level_width) {
    for (int64_t block = 0; block < blocks.per_image; ++block) {
      most_rows_ = std::max(most_rows_, rows_.high[blocks.end(block) - 1] - first(block) + 1);
    }
    sums_ = at::zeros({map.size(0) * blocks.per_image, most_rows_, width_, channels_},
                      map.options().dtype(at::kFloat));
  }

  // A row of gradients as wide as the branch, to collect in.
  std::vector<float> new_row() const { return std::vector<float>(width_ * channels_); }

  void add_position(std::vector<float>& row, int64_t column, const float* grad) const {
    float* left = row.data() + columns_.low[column] * channels_;
    float* right = row.data() + columns_.high[column] * channels_;
    const float share = columns_.share[column];
    for (int64_t c = 0; c < channels_; ++c) left[c] += (1 - share) * grad[c];
    for (int64_t c = 0; c < channels_; ++c) right[c] += share * grad[c];
  }

  // Row y of the level is complete.
  void add_row(int64_t task, int64_t y, const std::vector<float>& row) {
    const int64_t block = task % blocks_.per_image;
    const float share = rows_.share[y];
    float* above = at(task, rows_.low[y] - first(block));
    float* below = at(task, rows_.high[y] - first(block));
    for (size_t i = 0; i < row.size(); ++i) above[i] += (1 - share) * row[i];
    for (size_t i = 0; i < row.size(); ++i) below[i] += share * row[i];
  }

  // Everything that a row of the branch got.
  void collect(int64_t image, int64_t y, std::vector<float>& total) {
    std::fill(total.begin(), total.end(), 0.0f);
    for (int64_t block = 0; block < blocks_.per_image; ++block) {
      const int64_t index = y - first(block);
      if (index < 0 || y > rows_.high[blocks_.end(block) - 1]) continue;
      const float* row = at(image * blocks_.per_image + block, index);
      for (size_t i = 0; i < total.size(); ++i) total[i] += row[i];
    }
  }

 private:
  int64_t first(int64_t block) const { return rows_.low[blocks_.begin(block)]; }

  float* at(int64_t task, int64_t index) {
    return sums_.mutable_data_ptr<float>() + (task * most_rows_ + index) * width_ * channels_;
  }

  const int64_t height_, width_, channels_;
  const RowBlocks blocks_;
  const Axis rows_, columns_;
  int64_t most_rows_ = 1;
  at::Tensor sums_;
};

// The gradients that the moments of a branch pass on to its positions, for one image.
struct MomentGradients {
  const float *pooled, *constant, *slope;

  MomentGradients(const at::Tensor& moments, int64_t branch, int64_t image) {
    const int64_t branches = moments.size(1), images = moments.size(2), channels = moments.size(3);
    pooled = moments.const_data_ptr<float>() + (branch * images + image) * channels;
    constant = pooled + branches * images * channels;
    slope = constant + branches * images * channels;
  }
};

// The gradients of branches of the level's size go into `gradients`, the others into `transposed`.
template <class T>
void branch_gradients(const at::Tensor& grad_output, at::TensorList maps, const at::Tensor& scales,
                      const at::Tensor& dyrelu, const at::Tensor& moments,
                      std::vector<at::Tensor>& gradients, std::vector<Transposed>& transposed) {
  const int64_t images = grad_output.size(0), height = grad_output.size(1),
                width = grad_output.size(2);
  const int64_t channels = grad_output.size(3), branches = maps.size();
  const RowBlocks blocks(height);
  at::parallel_for(0, images * blocks.per_image, 1, [&](int64_t first_task, int64_t last_task) {
    Level<T> level(maps, height, width);
    std::vector<float> grad(channels), grad_mixed(channels), result(channels);
    std::vector<std::vector<float>> rows;
    for (auto& upsampled : transposed) rows.push_back(upsampled.new_row());
    for (int64_t task = first_task; task < last_task; ++task) {
      const int64_t image = blocks.image(task);
      const Coefficients of(scales, dyrelu, image);
      for (int64_t y = blocks.begin(task); y < blocks.end(task); ++y) {
        level.start_row(image, y);
        for (auto& row : rows) std::fill(row.begin(), row.end(), 0.0f);
        const int64_t start = (image * height + y) * width * channels;
        for (int64_t x = 0; x < width; ++x) {
          level.mix(of, x);
          widen(grad_output.const_data_ptr<T>() + start + x * channels, grad.data(), channels);
          const float *z = level.mixed.data(), *g = grad.data();
          float* dz = grad_mixed.data();
#pragma omp simd
          for (int64_t c = 0; c < channels; ++c) {
            const float to_first = first_share(g[c], of.slope1[c] * z[c] + of.intercept1[c],
                                               of.slope2[c] * z[c] + of.intercept2[c]);
            dz[c] = of.slope1[c] * to_first + of.slope2[c] * (g[c] - to_first);
          }
          size_t next_transposed = 0;
          for (int64_t b = 0; b < branches; ++b) {
            const MomentGradients through(moments, b, image);
            const float *scale = of.scales[b], *value = level.values[b];
            if (level.branches[b].is_upsampled) {
              for (int64_t c = 0; c < channels; ++c)
                result[c] = scale[c] * grad_mixed[c] + through.pooled[c];
              transposed[next_transposed].add_position(rows[next_transposed], x, result.data());
              ++next_transposed;
            } else {
#pragma omp simd
              for (int64_t c = 0; c < channels; ++c) {
                result[c] = scale[c] * grad_mixed[c] + (through.pooled[c] + through.constant[c]) +
                            through.slope[c] * value[c];
              }
              narrow(result.data(), gradients[b].mutable_data_ptr<T>() + start + x * channels,
                     channels);
            }
          }
        }
        for (size_t i = 0; i < transposed.size(); ++i) transposed[i].add_row(task, y, rows[i]);
      }
    }
  });
}

template <class T>
void finish(const at::Tensor& map, const at::Tensor& moments, int64_t branch,
            Transposed& transposed, at::Tensor& gradient) {
  const int64_t height = map.size(1), width = map.size(2), channels = map.size(3);
  at::parallel_for(0, map.size(0) * height, 1, [&](int64_t first, int64_t last) {
    std::vector<float> total = transposed.new_row(), value(channels);
    for (int64_t row = first; row < last; ++row) {
      const MomentGradients through(moments, branch, row / height);
      transposed.collect(row / height, row % height, total);
      for (int64_t x = 0; x < width; ++x) {
        const int64_t start = (row * width + x) * channels;
        float* sums = total.data() + x * channels;
        widen(map.const_data_ptr<T>() + start, value.data(), channels);
        for (int64_t c = 0; c < channels; ++c)
          sums[c] += through.constant[c] + through.slope[c] * value[c];
        narrow(sums, gradient.mutable_data_ptr<T>() + start, channels);
      }
    }
  });
}

std::vector<at::Tensor> mix_backward(const at::Tensor& grad_output, at::TensorList maps,
                                     const at::Tensor& scales, const at::Tensor& dyrelu,
                                     const at::Tensor& moments) {
  check_maps(maps);
  check_maps(grad_output);
  check_coefficients(maps, scales, dyrelu);
  const int64_t branches = maps.size(), height = grad_output.size(1), width = grad_output.size(2);
  TORCH_CHECK(grad_output.scalar_type() == maps[0].scalar_type(),
              "the gradient must have the maps' type");
  TORCH_CHECK(moments.is_contiguous() && moments.scalar_type() == at::kFloat,
              "moments must be contiguous float32");
  TORCH_CHECK(moments.sizes() == at::IntArrayRef({3, branches, scales.size(1), scales.size(2)}),
              "moments must be (3, B, N, C)");
  std::vector<at::Tensor> gradients;
  std::vector<Transposed> transposed;
  std::vector<int64_t> upsampled;  // which branches
  for (int64_t b = 0; b < branches; ++b) {
    gradients.push_back(at::empty_like(maps[b]));
    if (maps[b].size(1) != height || maps[b].size(2) != width) {
      transposed.emplace_back(maps[b], RowBlocks(height), width);
      upsampled.push_back(b);
    }
  }
  with_type(maps[0], [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    branch_gradients<T>(grad_output, maps, scales, dyrelu, moments, gradients, transposed);
    for (size_t i = 0; i < upsampled.size(); ++i) {
      const int64_t b = upsampled[i];
      finish<T>(maps[b], moments, b, transposed[i], gradients[b]);
    }
  });
  return gradients;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(dyhead, library) {
  library.def(
      "mix_reductions(Tensor grad_output, Tensor[] branches, Tensor scales, Tensor dyrelu) -> "
      "(Tensor, Tensor)");
  library.def(
      "mix_backward(Tensor grad_output, Tensor[] branches, Tensor scales, Tensor dyrelu, Tensor "
      "moments) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(dyhead, CPU, library) {
  library.impl("mix_reductions", mix_reductions);
  library.impl("mix_backward", mix_backward);
}

}  // namespace dyhead
