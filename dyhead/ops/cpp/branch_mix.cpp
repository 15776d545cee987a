// The passes of a fused block's forward: moments of a map, and the mix of a level's branches.
// branch_mix.py says what they compute.

#include "branches.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

namespace dyhead {
namespace {

// Sums over a block of rows, of one channel: distances from `origin`, a value of the block, so that
// a mean far from zero costs no accuracy.
struct Sums {
  std::vector<float> origin, first, second, pooled;
  explicit Sums(int64_t channels)
      : origin(channels), first(channels), second(channels), pooled(channels) {}
};

template <class T>
Sums sum_rows(const T* row, int64_t rows, int64_t width, int64_t channels, const float* row_weight,
              const float* column_weight) {
  Sums total(channels);
  std::vector<float> value(channels), first(channels), second(channels), pooled(channels);
  widen(row, total.origin.data(), channels);
  for (int64_t y = 0; y < rows; ++y) {
    // Sums of a row are added to the block's, which keeps rounding errors small.
    for (auto* sums : {&first, &second, &pooled}) std::fill(sums->begin(), sums->end(), 0.0f);
    for (int64_t x = 0; x < width; ++x, row += channels) {
      widen(row, value.data(), channels);
      const float weight = column_weight ? column_weight[x] : 0.0f;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) {
        const float distance = value[c] - total.origin[c];
        first[c] += distance;
        second[c] += distance * distance;
        pooled[c] += weight * distance;
      }
    }
    for (int64_t c = 0; c < channels; ++c) {
      total.first[c] += first[c];
      total.second[c] += second[c];
      total.pooled[c] += row_weight ? row_weight[y] * pooled[c] : 0.0f;
    }
  }
  return total;
}

// Merge the moments of an image's blocks (Chan, Golub, LeVeque, 1979).
void merge(const std::vector<Sums>& blocks, const std::vector<int64_t>& counts,
           const std::vector<double>& weights, int64_t channels, float* mean_out,
           float* variance_out, float* pooled_out) {
  for (int64_t c = 0; c < channels; ++c) {
    double count = 0, mean = 0, squares = 0, pooled = 0;
    for (size_t i = 0; i < blocks.size(); ++i) {
      const double n = counts[i], first = blocks[i].first[c], origin = blocks[i].origin[c];
      const double step = origin + first / n - mean;
      squares += blocks[i].second[c] - first * first / n + step * step * count * n / (count + n);
      count += n;
      mean += step * n / count;
      pooled += blocks[i].pooled[c] + origin * weights[i];
    }
    mean_out[c] = static_cast<float>(mean);
    variance_out[c] = static_cast<float>(squares > 0 ? squares / count : 0);
    pooled_out[c] = static_cast<float>(pooled);
  }
}

template <class T>
at::Tensor moments_of(const at::Tensor& map, int64_t level_height, int64_t level_width) {
  const int64_t images = map.size(0), height = map.size(1), width = map.size(2),
                channels = map.size(3);
  const bool is_upsampled = height != level_height || width != level_width;
  const auto row_weights = Axis(height, level_height).weights(height);
  const auto column_weights = Axis(width, level_width).weights(width);
  const RowBlocks blocks(height);
  std::vector<std::vector<Sums>> sums(images, std::vector<Sums>(blocks.per_image, Sums(0)));
  at::parallel_for(0, images * blocks.per_image, 1, [&](int64_t first, int64_t last) {
    for (int64_t task = first; task < last; ++task) {
      const int64_t image = blocks.image(task), begin = blocks.begin(task), end = blocks.end(task);
      const T* row = map.const_data_ptr<T>() + (image * height + begin) * width * channels;
      sums[image][task % blocks.per_image] = sum_rows(
          row, end - begin, width, channels, is_upsampled ? row_weights.data() + begin : nullptr,
          is_upsampled ? column_weights.data() : nullptr);
    }
  });

  std::vector<int64_t> counts;
  std::vector<double> weights;
  for (int64_t block = 0; block < blocks.per_image; ++block) {
    counts.push_back((blocks.end(block) - blocks.begin(block)) * width);
    double of_rows = 0, of_columns = 0;
    for (int64_t y = blocks.begin(block); y < blocks.end(block); ++y) of_rows += row_weights[y];
    for (float weight : column_weights) of_columns += weight;
    weights.push_back(of_rows * of_columns);
  }
  at::Tensor result = at::empty({3, images, channels}, map.options().dtype(at::kFloat));
  float* out = result.mutable_data_ptr<float>();
  const int64_t step = images * channels;
  for (int64_t image = 0; image < images; ++image, out += channels) {
    merge(sums[image], counts, weights, channels, out, out + step, out + 2 * step);
    if (!is_upsampled) std::copy(out, out + channels, out + 2 * step);
  }
  return result;
}

template <class T>
at::Tensor mix(at::TensorList maps, const at::Tensor& scales, const at::Tensor& lines,
               int64_t height, int64_t width, const std::optional<at::Tensor>& given) {
  const int64_t images = maps[0].size(0), channels = maps[0].size(3);
  // A position is read before it is written, so the result may replace a branch of the same size.
  at::Tensor output =
      given ? *given : at::empty({images, height, width, channels}, maps[0].options());
  T* out = output.mutable_data_ptr<T>();
  at::parallel_for(0, images * height, 8, [&](int64_t first, int64_t last) {
    Level<T> level(maps, height, width);
    std::vector<float> larger(channels);
    for (int64_t row = first; row < last; ++row) {
      const Coefficients of(scales, lines, row / height);
      level.start_row(row / height, row % height);
      for (int64_t x = 0; x < width; ++x) {
        level.mix(of, x);
        const float* z = level.mixed.data();
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
          const float one = of.slope1[c] * z[c] + of.offset1[c];
          const float two = of.slope2[c] * z[c] + of.offset2[c];
          larger[c] = one > two || one != one ? one : two;  // what is not a number stays so
        }
        narrow(larger.data(), out + (row * width + x) * channels, channels);
      }
    }
  });
  return output;
}

at::Tensor channel_moments(const at::Tensor& map, at::IntArrayRef size) {
  check_maps(map);
  return with_type(map, [&](auto* type) {
    return moments_of<std::remove_pointer_t<decltype(type)>>(map, size[0], size[1]);
  });
}

at::Tensor mix_forward(at::TensorList maps, const at::Tensor& scales, const at::Tensor& lines,
                       at::IntArrayRef size, const std::optional<at::Tensor>& out) {
  check_maps(maps);
  check_coefficients(maps, scales, lines);
  if (out) {
    TORCH_CHECK(
        out->is_contiguous() && out->scalar_type() == maps[0].scalar_type() &&
            out->sizes() == at::IntArrayRef({maps[0].size(0), size[0], size[1], maps[0].size(3)}),
        "out does not fit the level");
  }
  return with_type(maps[0], [&](auto* type) {
    return mix<std::remove_pointer_t<decltype(type)>>(maps, scales, lines, size[0], size[1], out);
  });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(dyhead, library) {
  library.def("channel_moments(Tensor map, int[2] size) -> Tensor");
  library.def(
      "mix_forward(Tensor[] branches, Tensor scales, Tensor lines, int[2] size,"
      " Tensor? out) -> Tensor");
}

TORCH_LIBRARY_IMPL(dyhead, CPU, library) {
  library.impl("channel_moments", channel_moments);
  library.impl("mix_forward", mix_forward);
}

}  // namespace dyhead
