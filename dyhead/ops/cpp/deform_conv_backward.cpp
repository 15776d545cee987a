// The gradients of the modulated deformable convolution, all in one pass over the output positions.
//
// Nothing is kept from forward: the columns are sampled again. Every task owns a slice of the
// input's channels of some images, so that tasks add to the gradients of pixels without atomic
// operations and in an order of their own: the same call on the same number of threads gives the
// same bits.

#include "backward_task.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <array>

namespace dyhead::deform_conv {
namespace {

// The sum over the first of two dimensions.
at::Tensor sum_parts(const at::Tensor& parts, at::IntArrayRef sizes) {
  const at::Tensor sums = at::empty(sizes, parts.options());
  const float* from = parts.const_data_ptr<float>();
  float* to = sums.data_ptr<float>();
  const int64_t count = parts.size(0), size = sums.numel();
  at::parallel_for(0, size, 16384, [&](int64_t begin, int64_t end) {
    std::copy(from + begin, from + end, to + begin);
    for (int64_t part = 1; part < count; ++part) {
      for (int64_t i = begin; i < end; ++i) {
        to[i] += from[part * size + i];
      }
    }
  });
  return sums;
}

// The kernel's gradient, laid out as the kernel is.
at::Tensor gather_kernel(const Shape& shape, const Slices& slices, const at::Tensor& parts,
                         const at::Tensor& weight) {
  const at::Tensor result = at::empty_like(weight, weight.options().dtype(at::kFloat));
  float* to = result.data_ptr<float>();
  const float* from = parts.const_data_ptr<float>();
  const int64_t width = slices.width(), part_size = parts.numel() / parts.size(0);
  const int64_t channel_step = result.stride(1);
  at::parallel_for(0, shape.out_channels, 4, [&](int64_t begin, int64_t end) {
    for (int64_t out = begin; out < end; ++out) {
      for (int64_t slice = 0; slice < slices.count(); ++slice) {
        for (int64_t tap = 0; tap < shape.taps; ++tap) {
          const float* row = from + ((slice * shape.taps + tap) * shape.out_channels + out) * width;
          float* column = to + out * result.stride(0) + slices.first(slice) * result.stride(1) +
                          shape.tap_offset(result, tap);
          for (int64_t i = 0; i < slices.channels(slice); ++i) {
            float sum = row[i];
            for (int64_t part = 1; part < parts.size(0); ++part) {
              sum += row[part * part_size + i];
            }
            column[i * channel_step] = sum;
          }
        }
      }
    }
  });
  return result;
}

using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

template <class T, class Value>
Gradients backward(const Shape& shape, const at::Tensor& grad_output, const at::Tensor& input,
                   const at::Tensor& offset, const at::Tensor& mask, const at::Tensor& weight,
                   Needed needed) {
  using Products = BackwardProducts<Value>;
  const Tiling tiling(shape, Products::LARGEST_TILE, Products::TILE_MULTIPLE);
  const int64_t threads = at::get_num_threads();
  const Slices slices(shape.channels, shape.batch, threads);
  const int64_t wanted_groups = divide_up(threads, slices.count());
  const int64_t groups = std::max<int64_t>(std::min(shape.batch, wanted_groups), 1);
  const Products products(shape, tiling, slices, grad_output, weight);

  const auto options = offset.options();
  const int64_t parts = needed.offset_or_mask ? slices.count() : 0;
  const int64_t kernel_size = needed.weight ? shape.taps * shape.out_channels * slices.width() : 0;
  const int64_t pixels = needed.input ? shape.batch * shape.height * shape.width : 0;
  const at::Tensor grad_pixels = at::zeros({pixels, shape.channels}, options);
  const at::Tensor offset_parts = at::empty({parts, offset.numel()}, options);
  const at::Tensor mask_parts = at::empty({parts, mask.numel()}, options);
  const at::Tensor kernel_parts = at::zeros({groups, slices.count() * kernel_size}, options);
  const Sums sums{grad_pixels.data_ptr<float>(), offset_parts.data_ptr<float>(),
                  mask_parts.data_ptr<float>(), kernel_parts.data_ptr<float>()};

  at::parallel_for(0, groups * slices.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t group = index / slices.count(), slice = index % slices.count();
      Task<T, Value> task(shape, tiling, slices, products, offset.const_data_ptr<float>(),
                          mask.const_data_ptr<float>(), needed, slice);
      task.run(shape.batch * group / groups, shape.batch * (group + 1) / groups,
               input.const_data_ptr<T>(), sums, sums.kernel + index * kernel_size);
    }
    if constexpr (std::is_same_v<Value, BFloat16>) {
      release_bf16();
    }
  });

  const auto dtype = input.scalar_type();
  const at::Tensor none = at::empty({0}, options);
  const auto image = [&] {
    return grad_pixels.view({shape.batch, shape.height, shape.width, shape.channels})
        .permute({0, 3, 1, 2})
        .to(dtype);
  };
  return {needed.input ? image() : none,
          needed.offset_or_mask ? sum_parts(offset_parts, offset.sizes()) : none,
          needed.offset_or_mask ? sum_parts(mask_parts, mask.sizes()) : none,
          needed.weight ? gather_kernel(shape, slices, kernel_parts, weight).to(dtype) : none};
}

// precision: in "bf16" the products take bfloat16, otherwise float32, as they do without a product
// in bfloat16 for this processor. The gradients that are not needed (of the input, of offset and
// mask, of the weight) come back empty.
Gradients deform_conv_backward(const at::Tensor& grad_output, const at::Tensor& input,
                               const at::Tensor& offset, const at::Tensor& mask,
                               const at::Tensor& weight, at::IntArrayRef geometry,
                               c10::string_view precision, std::array<bool, 3> needed) {
  const Shape shape(input, mask, weight, geometry);
  const bool in_bf16 = precision == "bf16" && bf16_product_works();
  const auto channels_last = at::MemoryFormat::ChannelsLast;
  auto run = in_bf16 ? backward<float, BFloat16> : backward<float, float>;
  if (input.scalar_type() == at::kBFloat16) {
    run = in_bf16 ? backward<BFloat16, BFloat16> : backward<BFloat16, float>;
  }
  return run(shape, grad_output.to(in_bf16 ? at::kBFloat16 : at::kFloat).contiguous(channels_last),
             input.contiguous(channels_last), offset.contiguous(), mask.contiguous(),
             weight.to(at::kFloat), {needed[0], needed[1], needed[2]});
}

}  // namespace
}  // namespace dyhead::deform_conv

TORCH_LIBRARY_FRAGMENT(dyhead, library) {
  library.def(
      "deform_conv_backward(Tensor grad_output, Tensor input, Tensor offset, Tensor mask,"
      " Tensor weight, int[] geometry, str precision, bool[3] needed)"
      " -> (Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(dyhead, CPU, library) {
  library.impl("deform_conv_backward", &dyhead::deform_conv::deform_conv_backward);
}
