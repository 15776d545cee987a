// The modulated deformable convolution, forward, tile by tile: sample the columns of a few output
// positions into a buffer that stays in the cache, and multiply them with the kernel at once.

#include "gemm.h"
#include "gemm_bf16.h"
#include "moments.h"
#include "pack.h"
#include "sampling.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

namespace dyhead::deform_conv {
namespace {

// How operands enter the matrix product; sums are always float32.
enum class Precision { FLOAT32, BF16, BF16X3 };

// With 256 channels a tile's samples and sums are 100 KB each: half of a second-level cache is left
// for the kernel to stream through.
constexpr int64_t LARGEST_TILE = 96;   // positions
constexpr int64_t GROUP_VALUES = 256;  // of a column, sampled before they are multiplied

// The kernel (O, C, taps) as right operand: for every group of taps (group's taps * C, O).
template <Precision PRECISION>
class Kernel {
 public:
  static constexpr bool IS_FLOAT = PRECISION == Precision::FLOAT32;
  static constexpr int PARTS = PRECISION == Precision::BF16X3 ? 2 : 1;
  using Value = std::conditional_t<IS_FLOAT, float, BFloat16>;

  // `packed`: what `pack` gave for this weight; without it, it is packed now.
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

// Fill `output`; give its channels' moments if there is a level's size that it may be upsampled to.
template <Precision PRECISION, class T>
at::Tensor convolve(const Shape& shape, const at::Tensor& input, const at::Tensor& offset,
                    const at::Tensor& mask, const at::Tensor& weight, const at::Tensor& packed,
                    const float* bias, const at::OptionalIntArrayRef level_size,
                    const at::Tensor& output) {
  using Packed = Kernel<PRECISION>;
  using Value = typename Packed::Value;
  const Packed kernel(weight, packed);
  // The bfloat16 products are compiled for each number of rows: have few different ones.
  const int64_t multiple = Packed::IS_FLOAT ? BLOCK_ROWS : 16;
  const Tiling tiling(shape, LARGEST_TILE, multiple, at::get_num_threads());
  const int64_t depth = kernel.group * kernel.channels;
  const int64_t part_step = Packed::PARTS == 2 ? tiling.size() * depth : 0;
  const int64_t image_size = shape.height * shape.width * shape.channels;
  std::optional<Moments> moments;
  if (level_size) {
    moments.emplace(shape.batch, shape.out_height, shape.out_width, shape.out_channels, *level_size,
                    tiling.size());
  }
  at::parallel_for(0, tiling.count(), 1, [&](int64_t begin, int64_t end) {
    TapCorners corners(shape, offset.const_data_ptr<float>(), mask.const_data_ptr<float>(),
                       tiling.size());
    std::vector<float> sums(tiling.size() * kernel.columns);
    std::vector<Value> samples(Packed::PARTS * tiling.size() * depth);  // pads stay zero
    for (int64_t index = begin; index < end; ++index) {
      const Tile tile = tiling[index];
      const T* image = input.const_data_ptr<T>() + tile.image * image_size;
      const int64_t rows = Packed::IS_FLOAT ? tile.count : round_up(tile.count, multiple);
      corners.move_to(tile);
      begin_with_bias(sums.data(), rows, kernel.columns, bias, shape.out_channels);
      for (int64_t first = 0; first < shape.taps; first += kernel.group) {
        for (int64_t tap = 0; tap < kernel.group_size(first); ++tap) {
          corners.compute(first + tap);
          sample(corners, image, tile.count, shape.channels, samples.data() + tap * kernel.channels,
                 depth, part_step);
        }
        kernel.multiply_group(first, rows, samples.data(), depth, part_step, sums.data());
      }
      const int64_t row = tile.image * shape.positions() + tile.first;
      T* written = output.data_ptr<T>() + row * shape.out_channels;
      write_rows(sums.data(), tile.count, kernel.columns, written, shape.out_channels);
      if (moments) {  // of the values as they were rounded, while they are in the cache
        moments->add(tile.image, tile.first / tiling.size(), written);
      }
    }
    if constexpr (!Packed::IS_FLOAT) {
      release_bf16();
    }
  });
  return moments ? moments->merged() : at::empty({0}, at::kFloat);
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

// The output, and its channels' moments (3, N, O) if `level_size` is given, else no values.
std::tuple<at::Tensor, at::Tensor> deform_conv_forward(
    const at::Tensor& input, const at::Tensor& offset, const at::Tensor& mask,
    const at::Tensor& weight, const std::optional<at::Tensor>& bias, at::IntArrayRef geometry,
    c10::string_view precision, const at::Tensor& packed,
    const at::OptionalIntArrayRef level_size) {
  const Shape shape(input, mask, weight, geometry);
  const at::Tensor float_bias = bias ? bias->to(at::kFloat).contiguous() : at::Tensor();
  const at::Tensor output =
      at::empty({shape.batch, shape.out_channels, shape.out_height, shape.out_width},
                input.options(), at::MemoryFormat::ChannelsLast);
  const Precision served = served_precision(input, precision);
  auto run = convolve<Precision::FLOAT32, float>;
  if (input.scalar_type() == at::kBFloat16) {
    run = served == Precision::BF16 ? convolve<Precision::BF16, BFloat16>
                                    : convolve<Precision::FLOAT32, BFloat16>;
  } else if (served != Precision::FLOAT32) {
    run = served == Precision::BF16 ? convolve<Precision::BF16, float>
                                    : convolve<Precision::BF16X3, float>;
  }
  const at::Tensor moments =
      run(shape, input.contiguous(at::MemoryFormat::ChannelsLast), offset.contiguous(),
          mask.contiguous(), weight, packed, bias ? float_bias.const_data_ptr<float>() : nullptr,
          level_size, output);
  return {output, moments};
}

}  // namespace
}  // namespace dyhead::deform_conv

TORCH_LIBRARY_FRAGMENT(dyhead, library) {
  library.def(
      "deform_conv_forward(Tensor input, Tensor offset, Tensor mask, Tensor weight, Tensor? bias,"
      " int[] geometry, str precision, Tensor packed, int[2]? level_size) -> (Tensor, Tensor)");
  library.def("pack_kernel(Tensor weight, str precision) -> Tensor");
  library.def("bf16_product_works() -> bool", &dyhead::deform_conv::bf16_product_works);
}

TORCH_LIBRARY_IMPL(dyhead, CPU, library) {
  library.impl("deform_conv_forward", &dyhead::deform_conv::deform_conv_forward);
  library.impl("pack_kernel", &dyhead::deform_conv::pack_kernel);
}
