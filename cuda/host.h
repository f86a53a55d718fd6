// Enough of CUDA to compile spline.cu and encoding.cu with g++ -std=c++17 -pthread: the blocks of a grid one after another, the threads
// of a block as threads of the system.  For tests without a GPU.
#pragma once

#include <pthread.h>

#include <cmath>
#include <thread>
#include <utility>
#include <vector>

#define ON_HOST
#define __device__
#define __global__
#define __launch_bounds__(...)
#define __shared__ static  // one block at a time, so one copy

using half = _Float16;
using std::exp, std::fabs, std::log, std::log1p, std::sqrt;

struct Dim {
    unsigned x;
};

inline Dim gridDim, blockDim;
inline thread_local Dim blockIdx, threadIdx;
inline pthread_barrier_t barrier;

inline void __syncthreads() { pthread_barrier_wait(&barrier); }

template <typename Real> Real atomicAdd(Real *target, Real value) {
    Real before, after;
    __atomic_load(target, &before, __ATOMIC_RELAXED);
    do
        after = before + value;
    while (!__atomic_compare_exchange(target, &before, &after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return before;
}

// As cudaLaunchKernel: arguments[i] points at the i-th argument.
template <typename... A, std::size_t... I>
void launch(void (*kernel)(A...), unsigned blocks, unsigned threads, void **arguments, std::index_sequence<I...>) {
    gridDim = {blocks}, blockDim = {threads};
    pthread_barrier_init(&barrier, nullptr, threads);
    for (unsigned block = 0; block < blocks; ++block) {
        std::vector<std::thread> pool;
        for (unsigned thread = 0; thread < threads; ++thread)
            pool.emplace_back([=] {
                blockIdx = {block}, threadIdx = {thread};
                kernel(*static_cast<A *>(arguments[I])...);
            });
        for (std::thread &thread : pool)
            thread.join();
    }
    pthread_barrier_destroy(&barrier);
}

template <typename... A> void launch(void (*kernel)(A...), unsigned blocks, unsigned threads, void **arguments) {
    launch(kernel, blocks, threads, arguments, std::index_sequence_for<A...>());
}

// launch_NAME(blocks, threads, arguments) of a kernel.
#define HOST_LAUNCHER(NAME)                                                                                              \
    extern "C" void launch_##NAME(unsigned blocks, unsigned threads, void **arguments) {                                 \
        launch(NAME, blocks, threads, arguments);                                                                        \
    }
