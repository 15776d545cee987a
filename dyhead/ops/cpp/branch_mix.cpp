// The passes of a fused block's forward: moments of a map, and the mix of a level's branches.
// branch_mix.py says what they compute.

#include "branches.h"
#include "moments.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

namespace dyhead {
namespace {

constexpr int64_t RUN_LENGTH = 128;  // positions

template <class T>
at::Tensor moments_of(const at::Tensor& map, at::IntArrayRef level_size) {
  const int64_t images = map.size(0), height = map.size(1), width = map.size(2),
                channels = map.size(3);
  Moments moments(images, height, width, channels, level_size, RUN_LENGTH);
  const T* rows = map.const_data_ptr<T>();
  at::parallel_for(0, images * moments.runs(), 8, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t image = index / moments.runs(), run = index % moments.runs();
      moments.add(image, run, rows + (image * height * width + run * RUN_LENGTH) * channels);
    }
  });
  return moments.merged();
}

template <class T>
at::Tensor mix(at::TensorList maps, const at::Tensor& scales, const at::Tensor& dyrelu,
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
      const Coefficients of(scales, dyrelu, row / height);
      level.start_row(row / height, row % height);
      for (int64_t x = 0; x < width; ++x) {
        level.mix(of, x);
        const float* z = level.mixed.data();
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
          const float one = of.slope1[c] * z[c] + of.intercept1[c];
          const float two = of.slope2[c] * z[c] + of.intercept2[c];
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
    return moments_of<std::remove_pointer_t<decltype(type)>>(map, size);
  });
}

at::Tensor mix_forward(at::TensorList maps, const at::Tensor& scales, const at::Tensor& dyrelu,
                       at::IntArrayRef size, const std::optional<at::Tensor>& out) {
  check_maps(maps);
  check_coefficients(maps, scales, dyrelu);
  if (out) {
    TORCH_CHECK(
        out->is_contiguous() && out->scalar_type() == maps[0].scalar_type() &&
            out->sizes() == at::IntArrayRef({maps[0].size(0), size[0], size[1], maps[0].size(3)}),
        "out does not fit the level");
  }
  return with_type(maps[0], [&](auto* type) {
    return mix<std::remove_pointer_t<decltype(type)>>(maps, scales, dyrelu, size[0], size[1], out);
  });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(dyhead, library) {
  library.def("channel_moments(Tensor map, int[2] size) -> Tensor");
  library.def(
      "mix_forward(Tensor[] branches, Tensor scales, Tensor dyrelu, int[2] size,"
      " Tensor? out) -> Tensor");
}

TORCH_LIBRARY_IMPL(dyhead, CPU, library) {
  library.impl("channel_moments", channel_moments);
  library.impl("mix_forward", mix_forward);
}

}  // namespace dyhead
