// One task of backward: a slice of the channels of a range of images.
#pragma once

#include "backward_products.h"

namespace dyhead::deform_conv {

struct Needed {
  bool input, offset_or_mask, weight;
};

// Gradients as the tasks write them.
struct Sums {
  float* input;   // (N, H, W, C)
  float* offset;  // (slices, N, 2 * taps, Y, X), to be summed over the slices
  float* mask;    // (slices, N, taps, Y, X)
  float* kernel;  // (image groups, slices, taps, O, slice's width), to be summed over the groups
};

// The sums over the lanes of four vectors, as four neighbours.
inline void sum_lanes(const Vec (&vectors)[4], float* to) {
  typedef float Quad __attribute__((vector_size(16)));
  Quad sums[4];
  for (int i = 0; i < 4; ++i) {
    Quad quads[LANES / 4];
    std::memcpy(quads, &vectors[i], sizeof(Vec));
    for (int half = LANES / 8; half; half /= 2) {
      for (int quad = 0; quad < half; ++quad) {
        quads[quad] += quads[quad + half];
      }
    }
    sums[i] = quads[0];
  }
  Quad total = {};
  for (int lane = 0; lane < 4; ++lane) {
    total += Quad{sums[0][lane], sums[1][lane], sums[2][lane], sums[3][lane]};
  }
  std::memcpy(to, &total, sizeof(total));
}

template <class T, class Value>
class Task {
 public:
  Task(const Shape& shape, const Tiling& tiling, const Slices& slices,
       const BackwardProducts<Value>& products, const float* offset, const float* mask,
       Needed needed, int64_t slice)
      : shape_(shape),
        tiling_(tiling),
        products_(products),
        needed_(needed),
        slice_(slice),
        first_channel_(slices.first(slice)),
        channels_(slices.channels(slice)),
        width_(slices.width()),
        corners_(shape, offset, mask, tiling.size()),
        samples_(tiling.size() * width_),
        grad_samples_(tiling.size() * width_),
        dots_(4 * tiling.size()) {}

  // `kernel_sums` are this task's alone, (taps, O, width).
  void run(int64_t first_image, int64_t last_image, const T* input, const Sums& sums,
           float* kernel_sums) {
    const int64_t image_size = shape_.height * shape_.width * shape_.channels;
    const int64_t tap_size = shape_.out_channels * width_, tiles = tiling_.per_image();
    for (int64_t index = first_image * tiles; index < last_image * tiles; ++index) {
      const Tile tile = tiling_[index];
      const int64_t image = tile.image * image_size + first_channel_;
      corners_.move_to(tile);
      for (int64_t tap = 0; tap < shape_.taps; ++tap) {
        corners_.compute(tap);
        if (needed_.input || needed_.offset_or_mask) {
          products_.grad_samples(index, tile, tap, slice_, grad_samples_.data());
        }
        if (needed_.offset_or_mask || needed_.weight) {
          sample(input + image, tile.count);
        }
        if (needed_.input) {
          scatter(sums.input + image, tile.count);
        }
        if (needed_.offset_or_mask) {
          write_grad_positions(tile, tap, sums);
        }
        if (needed_.weight) {
          products_.add_grad_kernel(index, tile, samples_.data(), scratch_,
                                    kernel_sums + tap * tap_size);
        }
      }
    }
  }

 private:
  // The samples, and each corner's pixel times the gradient of its sample.
  void sample(const T* image, int64_t positions) {
    float* to = samples_.data();
    const float* grad = grad_samples_.data();
    for (int64_t i = 0; i < positions; ++i, to += width_, grad += width_) {
      const T* pixel[4];
      float weight[4];
      Vec dots[4] = {};
      for (int corner = 0; corner < 4; ++corner) {
        pixel[corner] = image + corners_.pixel[corner][i] * shape_.channels;
        weight[corner] = corners_.weight[corner][i];
      }
      for_each_vector(channels_, [&](int64_t channel, auto count) {
        const Vec gradient = load(grad + channel);
        Vec sum = {};
        for (int corner = 0; corner < 4; ++corner) {
          const Vec value = load(pixel[corner] + channel, count);
          sum += weight[corner] * value;
          dots[corner] += gradient * value;
        }
        store(to + channel, sum);
      });
      sum_lanes(dots, dots_.data() + 4 * i);
    }
  }

  void scatter(float* image, int64_t positions) {
    const float* grad = grad_samples_.data();
    for (int64_t i = 0; i < positions; ++i, grad += width_) {
      for (int corner = 0; corner < 4; ++corner) {
        float* pixel = image + corners_.pixel[corner][i] * shape_.channels;
        const float weight = corners_.weight[corner][i];
        for_each_vector(channels_, [&](int64_t channel, auto count) {
          const Vec sum = load(pixel + channel, count) + weight * load(grad + channel);
          store(pixel + channel, sum, count);
        });
      }
    }
  }

  // This slice's share in the gradients of one tap's offset and mask.
  void write_grad_positions(const Tile& tile, int64_t tap, const Sums& sums) const {
    const int64_t plane = shape_.positions();
    const int64_t at = (slice_ * shape_.batch + tile.image) * shape_.taps + tap;
    float* grad_y = sums.offset + at * 2 * plane + tile.first;
    float* grad_x = grad_y + plane;
    float* grad_mask = sums.mask + at * plane + tile.first;
    const TapCorners& of = corners_;
#pragma GCC ivdep
    for (int64_t i = 0; i < tile.count; ++i) {
      const float* dot = dots_.data() + 4 * i;
      const float above = of.share_x[0][i] * dot[0] + of.share_x[1][i] * dot[1];
      const float below = of.share_x[0][i] * dot[2] + of.share_x[1][i] * dot[3];
      const float left = of.share_y[0][i] * dot[0] + of.share_y[1][i] * dot[2];
      const float right = of.share_y[0][i] * dot[1] + of.share_y[1][i] * dot[3];
      grad_mask[i] = of.share_y[0][i] * above + of.share_y[1][i] * below;
      grad_y[i] = of.importance[i] * (of.inside_y[1][i] * below - of.inside_y[0][i] * above);
      grad_x[i] = of.importance[i] * (of.inside_x[1][i] * right - of.inside_x[0][i] * left);
    }
  }

  const Shape& shape_;
  const Tiling& tiling_;
  const BackwardProducts<Value>& products_;
  const Needed needed_;
  const int64_t slice_, first_channel_, channels_, width_;
  TapCorners corners_;
  std::vector<float> samples_, grad_samples_;  // (tile's positions, width); pads stay zero
  std::vector<float> dots_;                    // (tile's positions, 4 corners)
  std::vector<Value> scratch_;
};

}  // namespace dyhead::deform_conv
