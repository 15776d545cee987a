// The places that the taps of a modulated deformable convolution read, and their weights.
//
// Shape letters: N batch, C input and O output channels, H x W input, Y x X output, K taps.
// Images are channels_last: a pixel is a row of C values in a table of N * H * W rows.
#pragma once

#include "simd.h"

#include <ATen/core/Tensor.h>

#include <cmath>
#include <vector>

namespace dyhead::deform_conv {

struct Shape {
  int64_t batch, channels, height, width;
  int64_t out_channels, out_height, out_width;
  int64_t kernel_height, kernel_width, taps;
  int64_t stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;

  Shape(const at::Tensor& input, const at::Tensor& mask, const at::Tensor& weight,
        at::IntArrayRef geometry)
      : batch(input.size(0)),
        channels(input.size(1)),
        height(input.size(2)),
        width(input.size(3)),
        out_channels(weight.size(0)),
        out_height(mask.size(2)),
        out_width(mask.size(3)),
        kernel_height(weight.size(2)),
        kernel_width(weight.size(3)),
        taps(mask.size(1)),
        stride_y(geometry[0]),
        stride_x(geometry[1]),
        padding_y(geometry[2]),
        padding_x(geometry[3]),
        dilation_y(geometry[4]),
        dilation_x(geometry[5]) {
    TORCH_CHECK(taps == kernel_height * kernel_width, "mask and weight disagree about the taps");
    TORCH_CHECK(weight.size(1) == channels, "input and weight disagree about the channels");
    TORCH_CHECK(height * width < (int64_t(1) << 31), "the input's pixels need 32-bit numbers");
  }

  int64_t positions() const { return out_height * out_width; }

  // Number of values before a tap's first one in a kernel (O, C, kernel height, kernel width).
  int64_t tap_offset(const at::Tensor& weight, int64_t tap) const {
    return tap / kernel_width * weight.stride(2) + tap % kernel_width * weight.stride(3);
  }
};

// A run of output positions of one image.
struct Tile {
  int64_t image, first, count;
};

// Cut the positions of all images into tiles of like size, of at most about `largest`. `multiple`
// divides the size of every tile but an image's last.
class Tiling {
 public:
  Tiling(const Shape& shape, int64_t largest, int64_t multiple)
      : positions_(shape.positions()), batch_(shape.batch) {
    size_ = round_up(divide_up(positions_, divide_up(positions_, largest)), multiple);
    per_image_ = divide_up(positions_, size_);
  }

  int64_t size() const { return size_; }  // of every tile but an image's last, which is smaller
  int64_t per_image() const { return per_image_; }
  int64_t count() const { return batch_ * per_image_; }

  Tile operator[](int64_t index) const {
    const int64_t first = index % per_image_ * size_;
    return {index / per_image_, first, std::min(size_, positions_ - first)};
  }

 private:
  int64_t positions_, batch_, size_, per_image_;
};

// For every position of a tile the four pixels round one tap: 0 and 1 above, 2 and 3 below it.
class TapCorners {
 public:
  TapCorners(const Shape& shape, const float* offset, const float* mask, int64_t tile_size)
      : shape_(shape), offset_(offset), mask_(mask), floats_(15 * tile_size), ints_(4 * tile_size) {
    float* next = floats_.data();
    for (float** array : {&weight[0], &weight[1], &weight[2], &weight[3], &share_y[0], &share_y[1],
                          &share_x[0], &share_x[1], &inside_y[0], &inside_y[1], &inside_x[0],
                          &inside_x[1], &origin_y_, &origin_x_, &importance}) {
      *array = next;
      next += tile_size;
    }
    for (int i = 0; i < 4; ++i) {
      pixel[i] = ints_.data() + i * tile_size;
    }
  }

  void move_to(const Tile& tile) {
    tile_ = tile;
    int64_t y = tile.first / shape_.out_width, x = tile.first % shape_.out_width;
    for (int64_t i = 0; i < tile.count; ++i) {
      origin_y_[i] = float(y * shape_.stride_y - shape_.padding_y);
      origin_x_[i] = float(x * shape_.stride_x - shape_.padding_x);
      if (++x == shape_.out_width) {
        x = 0;
        ++y;
      }
    }
  }

  // A pixel outside the input gets weight zero and the number of a pixel inside. A coordinate that
  // is no number makes the weights so too, but never the pixel's number wild.
  void compute(int64_t tap) {
    const int64_t plane = shape_.positions();
    const float* dy = offset_ + (tile_.image * shape_.taps + tap) * 2 * plane + tile_.first;
    const float* mask = mask_ + (tile_.image * shape_.taps + tap) * plane + tile_.first;
    const float tap_y = float(tap / shape_.kernel_width * shape_.dilation_y);
    const float tap_x = float(tap % shape_.kernel_width * shape_.dilation_x);
    linear(dy, origin_y_, tap_y, shape_.height, share_y, inside_y, pixel[0], pixel[2]);
    linear(dy + plane, origin_x_, tap_x, shape_.width, share_x, inside_x, pixel[1], pixel[3]);
    const int32_t width = int32_t(shape_.width);
    for (int64_t i = 0; i < tile_.count; ++i) {
      const float left = share_x[0][i] * mask[i], right = share_x[1][i] * mask[i];
      importance[i] = mask[i];
      weight[0][i] = share_y[0][i] * left;
      weight[1][i] = share_y[0][i] * right;
      weight[2][i] = share_y[1][i] * left;
      weight[3][i] = share_y[1][i] * right;
      const int32_t above = pixel[0][i] * width, below = pixel[2][i] * width;
      const int32_t x0 = pixel[1][i], x1 = pixel[3][i];
      pixel[0][i] = above + x0;
      pixel[1][i] = above + x1;
      pixel[2][i] = below + x0;
      pixel[3][i] = below + x1;
    }
  }

  float* weight[4];    // the bilinear share times the mask
  int32_t* pixel[4];   // its number within the image
  float* share_y[2];   // of the pixels above and below
  float* share_x[2];   // of those to the left and to the right
  float* inside_y[2];  // 1 inside the input, 0 outside
  float* inside_x[2];
  float* importance;  // the mask

 private:
  // The offset's whole and broken parts are kept apart: their sum with a large coordinate would
  // cost the broken part its last digits.
  void linear(const float* offset, const float* origin, float tap, int64_t length, float** share,
              float** inside, int32_t* below, int32_t* above) const {
    const float last = float(length - 1);
    float *share0 = share[0], *share1 = share[1], *inside0 = inside[0], *inside1 = inside[1];
#pragma GCC ivdep
    for (int64_t i = 0; i < tile_.count; ++i) {
      const float whole = std::floor(offset[i]);
      const float fraction = offset[i] - whole;
      const float at = whole + (origin[i] + tap);
      inside0[i] = (at >= 0.0f) & (at <= last) ? 1.0f : 0.0f;
      inside1[i] = (at >= -1.0f) & (at <= last - 1.0f) ? 1.0f : 0.0f;
      share0[i] = (1.0f - fraction) * inside0[i];
      share1[i] = fraction * inside1[i];
      below[i] = clamp(at, last);
      above[i] = clamp(at + 1.0f, last);
    }
  }

  static int32_t clamp(float at, float last) {
    const float not_below = at > 0.0f ? at : 0.0f;  // so is what is no number
    return int32_t(not_below < last ? not_below : last);
  }

  const Shape& shape_;
  const float* offset_;
  const float* mask_;
  Tile tile_{};
  float *origin_y_, *origin_x_;
  std::vector<float> floats_;
  std::vector<int32_t> ints_;
};

}  // namespace dyhead::deform_conv
