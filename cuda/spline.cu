// Entry points of spline.cuh: spline_{sample,cdf,backward}_{hero,all}_{f32,f16}_{open,periodic}_k{12,16,24,32}.
//
//   sample(raw, channel, z, s, log_p, rows, channels)             z [N] -> s, log p(s)
//   cdf(raw, channel, s, z, log_p, rows, channels)                s [N] -> z, log p(s)
//   backward(raw, channel, s, g, gradient, rows, channels)        gradient of sum g log p(s) with respect to raw
//
// raw and gradient: [N, C, raw_size], float32 or float16.  Everything else is float32, and so is the arithmetic.
// hero: channel [N], int64, 0 to C - 1, picks the spline of each row; s, z, log_p, g: [N]; the gradient of the other
//       channels is written as zero.
// all:  every channel of a row at the row's one value; results and g: [N, C]; channel is not read.  For a value of its
//       own for each channel, pass N C rows of one channel.
//
// Any number of blocks of at most BLOCK threads.  -DSPLINE_KNOTS=K instantiates that K alone (any K >= 2).
//
// Bytes per spline: raw is read once, 4 raw_size (2 in float16), and at most 20 for the rest; backward also writes
// 4 raw_size (times C for a hero).  K = 16, open, hero, float32: 196 + 20.  The whole block reads its rows, neighbouring
// threads at neighbouring addresses, into a tile of shared memory with an odd row stride, from which each thread then
// reads its own row without bank conflicts.  Shared memory: 12.5 kB a block at K = 16, 24.8 kB at K = 32.
#include "spline.cuh"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define HOST_LAUNCHER(NAME)
#endif

constexpr int BLOCK = 64;

template <typename T> struct Arithmetic {
    using type = float;
};

template <> struct Arithmetic<double> {  // only on the host, to compare formulas without rounding
    using type = double;
};

template <typename T> using Real = typename Arithmetic<T>::type;

// Which splines of [N, C] a launch is about.
template <bool HERO> struct Batch {
    const long long *channel;
    long long rows;
    int channels;

    __device__ long long splines() const { return HERO ? rows : rows * channels; }
    __device__ long long row(long long i) const { return HERO ? i : i / channels; }
    __device__ long long source(long long i) const { return HERO ? i * channels + channel[i] : i; }
};

// Calls evaluate(i, its raw numbers in shared memory) for each spline i; afterwards stores what that left in the raw
// numbers' place to `gradient`, unless that is null.
template <int K, bool PERIODIC, bool HERO, typename T, typename Evaluate>
__device__ void each_spline(const Batch<HERO> &batch, const T *raw, T *gradient, Evaluate evaluate) {
    constexpr int SIZE = spline::raw_size<K, PERIODIC>, STRIDE = SIZE | 1;
    __shared__ Real<T> tile[BLOCK * STRIDE];
    const int lane = threadIdx.x, lanes = blockDim.x;
    for (long long first = blockIdx.x * (long long)lanes; first < batch.splines(); first += gridDim.x * (long long)lanes) {
        const long long rest = batch.splines() - first;
        const int count = rest < lanes ? int(rest) : lanes;
#pragma unroll 4  // several loads in flight
        for (int i = lane; i < count * SIZE; i += lanes)
            tile[i / SIZE * STRIDE + i % SIZE] = Real<T>(raw[batch.source(first + i / SIZE) * SIZE + i % SIZE]);
        __syncthreads();
        if (lane < count)
            evaluate(first + lane, tile + lane * STRIDE);
        __syncthreads();  // other threads' rows are next
        if (!gradient)
            continue;
        const int channels = HERO ? batch.channels : 1;
        for (int c = 0; c < channels; ++c)
            for (int i = lane; i < count * SIZE; i += lanes) {
                const long long target = (first + i / SIZE) * channels + c;
                const bool chosen = target == batch.source(first + i / SIZE);
                gradient[target * SIZE + i % SIZE] = chosen ? T(tile[i / SIZE * STRIDE + i % SIZE]) : T(0);
            }
        // no barrier here: in the next round each thread refills just what it has stored
    }
}

template <int K, bool PERIODIC, bool HERO, typename T>
__device__ void sample(const T *raw, Batch<HERO> batch, const Real<T> *z, Real<T> *s, Real<T> *log_p) {
    each_spline<K, PERIODIC>(batch, raw, static_cast<T *>(nullptr), [=](long long i, Real<T> *row) {
        const auto point = spline::sample<K, PERIODIC>(z[batch.row(i)], row);
        s[i] = point.value, log_p[i] = point.log_density;
    });
}

template <int K, bool PERIODIC, bool HERO, typename T>
__device__ void cdf(const T *raw, Batch<HERO> batch, const Real<T> *s, Real<T> *z, Real<T> *log_p) {
    each_spline<K, PERIODIC>(batch, raw, static_cast<T *>(nullptr), [=](long long i, Real<T> *row) {
        const auto point = spline::cdf<K, PERIODIC>(s[batch.row(i)], row);
        z[i] = point.value, log_p[i] = point.log_density;
    });
}

template <int K, bool PERIODIC, bool HERO, typename T>
__device__ void backward(const T *raw, Batch<HERO> batch, const Real<T> *s, const Real<T> *g, T *gradient) {
    each_spline<K, PERIODIC>(batch, raw, gradient, [=](long long i, Real<T> *row) {
        spline::log_density_backward<K, PERIODIC>(s[batch.row(i)], g[i], row);
    });
}

// At least 16 blocks a multiprocessor: ptxas keeps to 64 registers.
#define KERNEL(OP, T, NAME, HERO, PERIODIC, K, SECOND, THIRD)                                                            \
    extern "C" __global__ void __launch_bounds__(BLOCK, 16)                                                              \
        NAME(const T *raw, const long long *channel, const Real<T> *at, SECOND *second, THIRD *third, long long rows,    \
             int channels) {                                                                                             \
        OP<K, PERIODIC, HERO>(raw, {channel, rows, channels}, at, second, third);                                        \
    }                                                                                                                    \
    HOST_LAUNCHER(NAME)

#define KERNELS(T, TYPE, HERO, CHANNELS, PERIODIC, ENDS, K)                                                              \
    KERNEL(sample, T, spline_sample_##CHANNELS##_##TYPE##_##ENDS##_k##K, HERO, PERIODIC, K, Real<T>, Real<T>)            \
    KERNEL(cdf, T, spline_cdf_##CHANNELS##_##TYPE##_##ENDS##_k##K, HERO, PERIODIC, K, Real<T>, Real<T>)                  \
    KERNEL(backward, T, spline_backward_##CHANNELS##_##TYPE##_##ENDS##_k##K, HERO, PERIODIC, K, const Real<T>, T)

#define OF_TYPE(T, TYPE, K)                                                                                              \
    KERNELS(T, TYPE, true, hero, false, open, K)                                                                         \
    KERNELS(T, TYPE, true, hero, true, periodic, K)                                                                      \
    KERNELS(T, TYPE, false, all, false, open, K)                                                                         \
    KERNELS(T, TYPE, false, all, true, periodic, K)

#ifdef ON_HOST
#define OF_KNOTS(K) OF_TYPE(float, f32, K) OF_TYPE(half, f16, K) OF_TYPE(double, f64, K)
#else
#define OF_KNOTS(K) OF_TYPE(float, f32, K) OF_TYPE(half, f16, K)
#endif

#ifdef SPLINE_KNOTS
OF_KNOTS(SPLINE_KNOTS)
#else
OF_KNOTS(12)
OF_KNOTS(16)
OF_KNOTS(24)
OF_KNOTS(32)
#endif
