// The least a quantiser step can do on a CPU: one matrix product with the argmax inside it, the gather of the chosen
// codes, one read and one write of the gradients. Plain C interface, no torch headers: it compiles in a second.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

namespace {

constexpr int LANES = 16, WIDE = 2 * LANES, ROWS = 8;  // a tile: 8 latents by 32 codes, its sums in 16 registers
typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4)));

struct Best { Floats score[2]; Ints panel[2]; };  // per lane, over the panels seen so far

// Panels of 32 codes, dimension by dimension, and -|e|^2/2 behind them; missing codes get the score -inf.
void pack(const float* codes, float* panels, long k, long d) {
  for (long first = 0; first < k; first += WIDE, panels += (d + 1) * WIDE)
    for (long lane = 0; lane < WIDE; lane++) {
      const bool there = first + lane < k;
      const float* code = codes + (first + lane) * d;
      float square = 0;
      for (long j = 0; j < d; j++) {
        const float x = there ? code[j] : 0;
        panels[j * WIDE + lane] = x;
        square += x * x;
      }
      panels[d * WIDE + lane] = there ? -square / 2 : -std::numeric_limits<float>::infinity();
    }
}

void tile(const float* const* z, const float* panel, int32_t number, long d, Best* best) {
  Floats sum[ROWS][2];
  for (int i = 0; i < ROWS; i++)
    for (int h = 0; h < 2; h++) sum[i][h] = *(const Floats*)(panel + d * WIDE + h * LANES);
  for (long j = 0; j < d; j++) {
    const Floats left = *(const Floats*)(panel + j * WIDE), right = *(const Floats*)(panel + j * WIDE + LANES);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++) {
      sum[i][0] += z[i][j] * left;
      sum[i][1] += z[i][j] * right;
    }
  }
  const Ints here = number - Ints{};
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++)
    for (int h = 0; h < 2; h++) {
      const Ints better = sum[i][h] > best[i].score[h];
      best[i].score[h] = better ? sum[i][h] : best[i].score[h];
      best[i].panel[h] = better ? here : best[i].panel[h];
    }
}

void rows(const float* z, const float* codes, const float* panels, const float* g, float* z_q, int64_t* index,
          float* grad, long begin, long end, long d, long k) {
  const long count = (k + WIDE - 1) / WIDE, stride = (d + 1) * WIDE;
  const long group = std::max(1L, (256L << 10) / (4 * stride));  // panels that stay in the cache
  const long block = 256;                                          // latents that meet them there
  std::vector<Best> best(block);
  for (long first = begin; first < end; first += block) {
    const long last = std::min(end, first + block);
    for (Best& b : best)
      for (int h = 0; h < 2; h++) {
        b.score[h] = -std::numeric_limits<float>::infinity() - Floats{};
        b.panel[h] = Ints{};
      }
    for (long p = 0; p < count; p += group)
      for (long i = first; i < last; i += ROWS) {
        const float* z_rows[ROWS];
        for (int r = 0; r < ROWS; r++) z_rows[r] = z + std::min(i + r, last - 1) * d;
        for (long q = p; q < std::min(count, p + group); q++)
          tile(z_rows, panels + q * stride, (int32_t)q, d, &best[i - first]);
      }
    for (long i = first; i < last; i++) {
      const Best& b = best[i - first];
      float top = -std::numeric_limits<float>::infinity();
      int32_t chosen = std::numeric_limits<int32_t>::max();
      for (int lane = 0; lane < WIDE; lane++) top = std::max(top, ((const float*)b.score)[lane]);
      for (int lane = 0; lane < WIDE; lane++) {
        const int32_t code = ((const int32_t*)b.panel)[lane] * WIDE + lane;
        chosen = ((const float*)b.score)[lane] == top ? std::min(chosen, code) : chosen;
      }
      index[i] = chosen;
      std::memcpy(z_q + i * d, codes + chosen * d, 4 * d);
    }
    std::memcpy(grad + first * d, g + first * d, 4 * d * (last - first));
  }
}

}  // namespace

// z, g, z_q, grad: (n, d). codes: (k, d). panels: working space of ceil(k / 32) * 32 * (d + 1) floats.
extern "C" void floor_step(const float* z, const float* codes, const float* g, float* panels, float* z_q,
                           int64_t* index, float* grad, long n, long d, long k, long threads) {
  pack(codes, panels, k, d);
  const long share = (n + threads - 1) / threads;
  std::vector<std::thread> others;
  for (long t = 1; t < threads; t++)
    others.emplace_back(rows, z, codes, panels, g, z_q, index, grad, std::min(n, t * share),
                        std::min(n, (t + 1) * share), d, k);
  rows(z, codes, panels, g, z_q, index, grad, 0, std::min(n, share), d, k);
  for (std::thread& other : others) other.join();
}
