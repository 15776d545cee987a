// Modulated deformable convolutions, forward, tile by tile: sample the columns of a few output
// positions into a buffer that stays in the cache, and multiply them with the kernel at once. The
// tiles of several convolutions form one queue, so that small maps keep all threads busy, too.

#include "kernel.h"
#include "moments.h"
#include "sampling.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <atomic>
#include <deque>

namespace dyhead::deform_conv {
namespace {

// With 256 channels a tile's samples and sums are 100 KB each: half of a second-level cache is left
// for the kernel to stream through.
constexpr int64_t LARGEST_TILE = 96;  // positions
// Every tile reads the whole kernel.
constexpr int64_t SMALLEST_TILE = 16;
constexpr int64_t TILES_PER_THREAD = 4;

inline void put(float* to, int64_t, Vec value) { store(to, value); }

inline void put(BFloat16* to, int64_t part_step, Vec value) {
  const HalfWords high = narrow(value);
  std::memcpy(to, &high, sizeof(high));
  if (part_step) {
    store(to + part_step, value - widen(high));
  }
}

// One tap of all positions of a tile: a row of C values for each, `step` apart.
template <class T, class Value>
void sample(const TapCorners& corners, const T* image, int64_t positions, int64_t channels,
            Value* to, int64_t step, int64_t part_step) {
  for (int64_t i = 0; i < positions; ++i, to += step) {
    const T* pixel[4];
    float weight[4];
    for (int corner = 0; corner < 4; ++corner) {
      pixel[corner] = image + corners.pixel[corner][i] * channels;
      weight[corner] = corners.weight[corner][i];
    }
    for_each_vector(channels, [&](int64_t channel, auto count) {
      Vec sum = weight[0] * load(pixel[0] + channel, count);
      for (int corner = 1; corner < 4; ++corner) {
        sum += weight[corner] * load(pixel[corner] + channel, count);
      }
      put(to + channel, part_step, sum);
    });
  }
}

// The float32 sums of a tile, begun with the bias.
void begin_with_bias(float* sums, int64_t rows, int64_t columns, const float* bias,
                     int64_t channels) {
  std::fill(sums, sums + rows * columns, 0.0f);
  for (int64_t row = 0; bias && row < rows; ++row) {
    std::copy(bias, bias + channels, sums + row * columns);
  }
}

template <class T>
void write_rows(const float* sums, int64_t rows, int64_t columns, T* to, int64_t channels) {
  for (int64_t row = 0; row < rows; ++row, sums += columns, to += channels) {
    for_each_vector(channels, [&](int64_t channel, auto count) {
      store(to + channel, load(sums + channel, count), count);
    });
  }
}

// The tensors of one convolution, contiguous, its images channels_last.
struct Tensors {
  at::Tensor input, offset, mask, weight, packed, bias, output;  // bias: float32, or undefined
};

template <Precision PRECISION, class T>
class Convolution {
 public:
  using Packed = Kernel<PRECISION>;
  using Value = typename Packed::Value;

  // level_size: which the output may be upsampled to; without it there are no moments.
  Convolution(const Shape& shape, const Tensors& tensors, at::OptionalIntArrayRef level_size,
              int64_t largest_tile)
      : shape_(shape),
        tensors_(tensors),
        kernel_(tensors.weight, tensors.packed),
        tiling_(shape, largest_tile, MULTIPLE),
        depth_(kernel_.group * kernel_.channels),
        rows_(round_up(largest_tile, MULTIPLE)),
        part_step_(Packed::PARTS == 2 ? rows_ * depth_ : 0) {
    if (level_size) {
      moments_.emplace(shape.batch, shape.out_height, shape.out_width, shape.out_channels,
                       *level_size, tiling_.size());
    }
  }

  int64_t tiles() const { return tiling_.count(); }

  // The memory that a thread works in.
  struct Scratch {
    std::vector<float> sums;
    std::vector<Value> samples;
    int64_t channels = 0;
    std::optional<TapCorners> corners;

    void move_to(const Convolution& of) {
      const size_t size = Packed::PARTS * of.rows_ * of.depth_;
      if (samples.size() != size || channels != of.shape_.channels) {
        samples.assign(size, Value(0));  // what pads the channels stays zero
        channels = of.shape_.channels;
      }
      sums.resize(of.rows_ * of.kernel_.columns);
      corners.emplace(of.shape_, of.tensors_.offset.template const_data_ptr<float>(),
                      of.tensors_.mask.template const_data_ptr<float>(), of.rows_);
    }
  };

  // Threads may compute different tiles at once, each with its own scratch.
  void compute(int64_t index, Scratch& scratch) const {
    const Tile tile = tiling_[index];
    const T* image = tensors_.input.const_data_ptr<T>() +
                     tile.image * shape_.height * shape_.width * shape_.channels;
    const int64_t rows = Packed::IS_FLOAT ? tile.count : round_up(tile.count, MULTIPLE);
    float* sums = scratch.sums.data();
    TapCorners& corners = *scratch.corners;
    corners.move_to(tile);
    begin_with_bias(sums, rows, kernel_.columns, bias(), shape_.out_channels);
    for (int64_t first = 0; first < shape_.taps; first += kernel_.group) {
      for (int64_t tap = 0; tap < kernel_.group_size(first); ++tap) {
        corners.compute(first + tap);
        sample(corners, image, tile.count, shape_.channels,
               scratch.samples.data() + tap * kernel_.channels, depth_, part_step_);
      }
      kernel_.multiply_group(first, rows, scratch.samples.data(), depth_, part_step_, sums);
    }
    const int64_t row = tile.image * shape_.positions() + tile.first;
    T* written = tensors_.output.data_ptr<T>() + row * shape_.out_channels;
    write_rows(sums, tile.count, kernel_.columns, written, shape_.out_channels);
    if (moments_) {  // of the values as they were rounded, while they are in the cache
      moments_->add(tile.image, tile.first / tiling_.size(), written);
    }
  }

  // Once all tiles are computed.
  std::optional<at::Tensor> moments() const {
    return moments_ ? std::optional(moments_->merged()) : std::nullopt;
  }

 private:
  // The bfloat16 products are compiled for each number of rows: have few different ones.
  static constexpr int64_t MULTIPLE = Packed::IS_FLOAT ? BLOCK_ROWS : 16;

  const float* bias() const {
    return tensors_.bias.defined() ? tensors_.bias.const_data_ptr<float>() : nullptr;
  }

  const Shape shape_;
  const Tensors tensors_;
  const Packed kernel_;
  const Tiling tiling_;
  const int64_t depth_, rows_, part_step_;
  std::optional<Moments> moments_;
};

// Tiles as large as the cache allows, but so that every thread gets several.
int64_t largest_tile(const std::vector<Shape>& shapes) {
  int64_t positions = 0;
  for (const Shape& shape : shapes) positions += shape.batch * shape.positions();
  const int64_t wanted = divide_up(positions, TILES_PER_THREAD * at::get_num_threads());
  return std::clamp(wanted, SMALLEST_TILE, LARGEST_TILE);
}

// Fill the outputs; give their channels' moments if there are levels' sizes.
template <Precision PRECISION, class T>
std::vector<at::Tensor> convolve(const std::vector<Shape>& shapes,
                                 const std::vector<Tensors>& tensors,
                                 at::OptionalIntArrayRef level_sizes) {
  using Each = Convolution<PRECISION, T>;
  const int64_t largest = largest_tile(shapes);
  std::deque<Each> convolutions;  // which never moves them
  std::vector<int64_t> ends;      // of each one's tiles in the queue
  for (size_t i = 0; i < shapes.size(); ++i) {
    at::OptionalIntArrayRef level_size;
    if (level_sizes) level_size = level_sizes->slice(2 * i, 2);
    convolutions.emplace_back(shapes[i], tensors[i], level_size, largest);
    ends.push_back((ends.empty() ? 0 : ends.back()) + convolutions.back().tiles());
  }
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) {
    size_t current = shapes.size();  // none yet
    typename Each::Scratch scratch;
    for (int64_t index; (index = next++) < ends.back();) {
      const size_t wanted = std::upper_bound(ends.begin(), ends.end(), index) - ends.begin();
      const Each& convolution = convolutions[wanted];
      if (wanted != current) scratch.move_to(convolution);
      current = wanted;
      convolution.compute(index - (ends[current] - convolution.tiles()), scratch);
    }
    if constexpr (!Each::Packed::IS_FLOAT) release_bf16();
  });
  std::vector<at::Tensor> moments;
  for (const Each& convolution : convolutions) {
    if (const auto measured = convolution.moments()) moments.push_back(*measured);
  }
  return moments;
}

// precision: "float32", "bf16" or "bf16x3", the last for float32 input. Without a product in
// bfloat16 for this processor it is float32.
Precision served_precision(const at::Tensor& tensor, c10::string_view precision) {
  if (precision == "float32" || !bf16_product_works()) {
    return Precision::FLOAT32;
  }
  const bool is_whole = precision == "bf16" || tensor.scalar_type() == at::kBFloat16;
  return is_whole ? Precision::BF16 : Precision::BF16X3;
}

// The kernel as deform_conv_forward takes it, for several convolutions with the same one.
at::Tensor pack_kernel(const at::Tensor& weight, c10::string_view precision) {
  switch (served_precision(weight, precision)) {
    case Precision::BF16:
      return Kernel<Precision::BF16>(weight, std::nullopt).packed_tensor();
    case Precision::BF16X3:
      return Kernel<Precision::BF16X3>(weight, std::nullopt).packed_tensor();
    default:
      return Kernel<Precision::FLOAT32>(weight, std::nullopt).packed_tensor();
  }
}

// For each convolution the output, and its channels' moments (3, N, O) if there are levels' sizes.
//
// geometries: for each convolution six numbers, see Shape; level_sizes: H and W for each.
std::tuple<std::vector<at::Tensor>, std::vector<at::Tensor>> deform_conv_forward(
    at::TensorList inputs, at::TensorList offsets, at::TensorList masks, at::TensorList weights,
    at::TensorList packed, const c10::List<std::optional<at::Tensor>>& biases,
    at::IntArrayRef geometries, c10::string_view precision, at::OptionalIntArrayRef level_sizes) {
  TORCH_CHECK(!level_sizes || level_sizes->size() == 2 * inputs.size(),
              "level_sizes must have two numbers for each convolution");
  std::vector<Shape> shapes;
  std::vector<Tensors> tensors;
  std::vector<at::Tensor> outputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Shape shape(inputs[i], masks[i], weights[i], geometries.slice(6 * i, 6));
    const std::optional<at::Tensor> bias = biases[i];
    shapes.push_back(shape);
    outputs.push_back(
        at::empty({shape.batch, shape.out_channels, shape.out_height, shape.out_width},
                  inputs[i].options(), at::MemoryFormat::ChannelsLast));
    TORCH_CHECK(inputs[i].is_contiguous(at::MemoryFormat::ChannelsLast) &&
                    offsets[i].is_contiguous() && masks[i].is_contiguous(),
                "inputs must be channels_last, offsets and masks contiguous");
    tensors.push_back({inputs[i], offsets[i], masks[i], weights[i], packed[i],
                       bias ? bias->to(at::kFloat).contiguous() : at::Tensor(), outputs[i]});
  }
  const Precision served = served_precision(inputs[0], precision);
  auto run = convolve<Precision::FLOAT32, float>;
  if (inputs[0].scalar_type() == at::kBFloat16) {
    run = served == Precision::BF16 ? convolve<Precision::BF16, BFloat16>
                                    : convolve<Precision::FLOAT32, BFloat16>;
  } else if (served != Precision::FLOAT32) {
    run = served == Precision::BF16 ? convolve<Precision::BF16, float>
                                    : convolve<Precision::BF16X3, float>;
  }
  std::vector<at::Tensor> moments = run(shapes, tensors, level_sizes);
  return {std::move(outputs), std::move(moments)};
}

}  // namespace
}  // namespace dyhead::deform_conv

TORCH_LIBRARY_FRAGMENT(dyhead, library) {
  library.def(
      "deform_conv_forward(Tensor[] inputs, Tensor[] offsets, Tensor[] masks, Tensor[] weights,"
      " Tensor[] packed, Tensor?[] biases, int[] geometries, str precision, int[]? level_sizes)"
      " -> (Tensor[], Tensor[])");
  library.def("pack_kernel(Tensor weight, str precision) -> Tensor");
  library.def("bf16_product_works() -> bool", &dyhead::deform_conv::bf16_product_works);
}

TORCH_LIBRARY_IMPL(dyhead, CPU, library) {
  library.impl("deform_conv_forward", &dyhead::deform_conv::deform_conv_forward);
  library.impl("pack_kernel", &dyhead::deform_conv::pack_kernel);
}
