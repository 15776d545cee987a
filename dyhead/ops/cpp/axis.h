// Bilinear interpolation with aligned corners, along one axis.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace dyhead {

// The positions of a longer axis on a shorter one: first lies on first and last on last.
struct Axis {
  std::vector<int64_t> low, high;
  std::vector<float> share;  // of `high`

  Axis(int64_t length, int64_t target) : low(target), high(target), share(target) {
    const int64_t steps = std::max<int64_t>(target - 1, 1);
    for (int64_t i = 0; i < target; ++i) {
      low[i] = i * (length - 1) / steps;
      high[i] = std::min(low[i] + 1, length - 1);
      share[i] = static_cast<float>(i * (length - 1) % steps) / static_cast<float>(steps);
    }
  }

  // The weight of each position of the shorter axis in the mean over the longer one.
  std::vector<float> weights(int64_t length) const {
    std::vector<double> sums(length);
    for (size_t i = 0; i < low.size(); ++i) {
      sums[low[i]] += 1 - static_cast<double>(share[i]);
      sums[high[i]] += share[i];
    }
    std::vector<float> result;
    for (double sum : sums) result.push_back(static_cast<float>(sum / low.size()));
    return result;
  }
};

}  // namespace dyhead
