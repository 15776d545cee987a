// The moments of a map's channels, as branch_mix.py defines them: mean, variance and mean after
// upsampling. They are taken over runs of positions, in any order and by any thread, and then
// merged.
//
// Shape letters: N images, C channels, h x w the map, H x W the level it may be upsampled to.
#pragma once

#include "axis.h"
#include "simd.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <memory>

namespace dyhead {

class Moments {
 public:
  // An image is cut into runs of `run_length` positions, of which its last may have fewer.
  Moments(int64_t images, int64_t height, int64_t width, int64_t channels,
          at::IntArrayRef level_size, int64_t run_length)
      : images_(images),
        width_(width),
        positions_(height * width),
        channels_(channels),
        run_length_(run_length),
        runs_(divide_up(positions_, run_length)),
        is_upsampled_(height != level_size[0] || width != level_size[1]),
        row_weights_(weights_of(height, level_size[0])),
        column_weights_(weights_of(width, level_size[1])),
        partial_(new float[images * runs_ * VALUES * channels]) {}

  int64_t runs() const { return runs_; }  // of an image

  // Add a run of an image, (run's positions, C). Threads may call it at once for different runs.
  template <class T>
  void add(int64_t image, int64_t run, const T* rows) const {
    const int64_t count = length(run);
    const std::vector<float> weights = is_upsampled_ ? pooling_weights(run) : std::vector<float>();
    float total_weight = 0;
    for (float weight : weights) total_weight += weight;
    const Partial to = partial(image, run);
    for_each_vector(channels_, [&](int64_t channel, auto lanes) {
      // Distances from a value of the run: a mean far from zero costs no accuracy.
      const Vec origin = load(rows + channel, lanes);
      Vec first = {}, second = {}, weighted = {};
      for (int64_t i = 0; i < count; ++i) {
        const Vec distance = load(rows + i * channels_ + channel, lanes) - origin;
        first += distance;
        second += distance * distance;
        if (is_upsampled_) weighted += weights[i] * distance;
      }
      const Vec step = first / float(count);
      store(to.origin + channel, origin, lanes);
      store(to.step + channel, step, lanes);
      store(to.squares + channel, second - first * step, lanes);
      if (is_upsampled_) store(to.pooled + channel, weighted + total_weight * origin, lanes);
    });
  }

  // (3, N, C), once all runs were added.
  at::Tensor merged() const {
    at::Tensor result = at::empty({3, images_, channels_}, at::kFloat);
    const int64_t blocks = divide_up(channels_, BLOCK);
    at::parallel_for(0, images_ * blocks, 2, [&](int64_t begin, int64_t end) {
      for (int64_t index = begin; index < end; ++index) {
        merge(index / blocks, index % blocks * BLOCK, result.mutable_data_ptr<float>());
      }
    });
    return result;
  }

 private:
  // Of a run, for every channel: a value, the step from there to the mean, squared distances from
  // the mean, and the sum as upsampled.
  struct Partial {
    float *origin, *step, *squares, *pooled;
  };
  static constexpr int64_t VALUES = 4;
  static constexpr int64_t BLOCK = 64;  // channels that are merged together

  // Nothing where nobody asks for them: most maps have their level's size.
  std::vector<float> weights_of(int64_t length, int64_t target) const {
    return is_upsampled_ ? Axis(length, target).weights(length) : std::vector<float>();
  }

  int64_t length(int64_t run) const {
    return std::min(run_length_, positions_ - run * run_length_);
  }

  Partial partial(int64_t image, int64_t run) const {
    float* first = partial_.get() + (image * runs_ + run) * VALUES * channels_;
    return {first, first + channels_, first + 2 * channels_, first + 3 * channels_};
  }

  // The weight of each position of a run in the mean after upsampling.
  std::vector<float> pooling_weights(int64_t run) const {
    std::vector<float> weights(length(run));
    int64_t y = run * run_length_ / width_, x = run * run_length_ % width_;
    for (float& weight : weights) {
      weight = row_weights_[y] * column_weights_[x];
      if (++x == width_) {
        x = 0;
        ++y;
      }
    }
    return weights;
  }

  // Merge the runs of some channels (Chan, Golub, LeVeque, 1979).
  void merge(int64_t image, int64_t first_channel, float* out) const {
    const int64_t count = std::min(BLOCK, channels_ - first_channel);
    double mean[BLOCK] = {}, squares[BLOCK] = {}, pooled[BLOCK] = {};
    for (int64_t run = 0; run < runs_; ++run) {
      const Partial of = partial(image, run);
      const double before = run * run_length_;
      const double share = length(run) / (before + length(run));
      for (int64_t c = 0, channel = first_channel; c < count; ++c, ++channel) {
        const double step = double(of.origin[channel]) + of.step[channel] - mean[c];
        mean[c] += step * share;
        squares[c] += of.squares[channel] + step * step * before * share;
        if (is_upsampled_) pooled[c] += of.pooled[channel];
      }
    }
    out += image * channels_ + first_channel;
    for (int64_t c = 0; c < count; ++c) {
      out[c] = float(mean[c]);
      // Rounding may leave less than nothing; what is not a number stays so.
      out[images_ * channels_ + c] = squares[c] < 0 ? 0.0f : float(squares[c] / positions_);
      out[2 * images_ * channels_ + c] = float(is_upsampled_ ? pooled[c] : mean[c]);
    }
  }

  const int64_t images_, width_, positions_, channels_, run_length_, runs_;
  const bool is_upsampled_;
  const std::vector<float> row_weights_, column_weights_;
  const std::unique_ptr<float[]> partial_;
};

}  // namespace dyhead
