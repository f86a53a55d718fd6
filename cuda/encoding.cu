// Entry points of encoding.cuh: encoding_{gather,scatter}_{triplane,cubemap,line}_{f32,f16}.
//
//   gather(points, table, values, rows, size, columns)      points [N, inputs] -> values [N, columns]
//   scatter(points, gradient, values, rows, size, columns)  adds to gradient that of sum values gather with respect to table
//
// points: float32, 3 numbers a row, 1 of a line.  table: [nodes, columns] and values: [N, columns], float32 or float16.  gradient:
// [nodes, columns], float32 always, for it is a sum of very many.  Arithmetic is float32.  The order of a scatter's additions, so
// its last bits, is not the same from launch to launch.
//
// One thread a number of `values`: neighbouring threads read neighbouring columns of one node.  Any number of blocks of any size.
//
// Bytes per row of C columns: 4 inputs, 4 C (2 in float16) of values, and of each node 4 C (2) read, or 4 C read and written; nodes
// that many points share come from the cache.
#include "encoding.cuh"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define HOST_LAUNCHER(NAME)
#endif

template <typename T> struct Arithmetic {
    using type = float;
};

template <> struct Arithmetic<double> {  // only on the host, to compare formulas without rounding
    using type = double;
};

template <typename T> using Real = typename Arithmetic<T>::type;

template <typename Evaluate> __device__ void each_value(long long rows, int columns, Evaluate evaluate) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < rows * columns; i += stride)
        evaluate(i, i / columns, int(i % columns));
}

template <typename Kind, typename T>
__device__ void gather(const Real<T> *points, const T *table, T *values, long long rows, int size, int columns) {
    each_value(rows, columns, [=](long long i, long long row, int column) {
        Real<T> sum = 0;
        Kind::each(points + row * Kind::INPUTS, size, [&](long long node, Real<T> weight) {
            sum += weight * Real<T>(table[node * columns + column]);
        });
        values[i] = T(sum);
    });
}

template <typename Kind, typename T>
__device__ void scatter(const Real<T> *points, Real<T> *gradient, const T *values, long long rows, int size, int columns) {
    each_value(rows, columns, [=](long long i, long long row, int column) {
        const Real<T> value = Real<T>(values[i]);
        Kind::each(points + row * Kind::INPUTS, size, [&](long long node, Real<T> weight) {
            atomicAdd(gradient + node * columns + column, weight * value);
        });
    });
}

#define KERNEL(OP, KIND, T, NAME, SECOND, THIRD)                                                                         \
    extern "C" __global__ void NAME(const Real<T> *points, SECOND *second, THIRD *third, long long rows, int size,       \
                                    int columns) {                                                                       \
        OP<encoding::KIND, T>(points, second, third, rows, size, columns);                                               \
    }                                                                                                                    \
    HOST_LAUNCHER(NAME)

#define KERNELS(KIND, kind, T, TYPE)                                                                                     \
    KERNEL(gather, KIND, T, encoding_gather_##kind##_##TYPE, const T, T)                                                 \
    KERNEL(scatter, KIND, T, encoding_scatter_##kind##_##TYPE, Real<T>, const T)

#define OF_TYPE(T, TYPE)                                                                                                 \
    KERNELS(Triplane, triplane, T, TYPE)                                                                                 \
    KERNELS(Cubemap, cubemap, T, TYPE)                                                                                   \
    KERNELS(Line, line, T, TYPE)

OF_TYPE(float, f32)
OF_TYPE(half, f16)
#ifdef ON_HOST
OF_TYPE(double, f64)
#endif
