// What all kernels use. This file is put in front of each of the others: see sources.py.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// In what numbers are computed and summed: float, but double for double.
template <typename T> struct WideOf { using type = float; };
template <> struct WideOf<double> { using type = double; };
template <typename T> using Wide = typename WideOf<T>::type;

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(__half x) { return __half2float(x); }
__device__ inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }

// Rounded to the nearest number, of two the even one.
template <typename T> __device__ inline T narrow(Wide<T> x);
template <> __device__ inline float narrow<float>(float x) { return x; }
template <> __device__ inline double narrow<double>(double x) { return x; }
template <> __device__ inline __half narrow<__half>(float x) { return __float2half_rn(x); }
template <> __device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

// N numbers that are loaded at once: 16 bytes, or a single number where addresses or sizes do not allow it.
template <typename T, int N> struct alignas(sizeof(T) * N) Pack { T at[N]; };

template <typename A> __device__ inline A infinity() { return A(__int_as_float(0x7f800000)); }

// The larger of two; a if b is NaN.
template <typename A> __device__ inline A larger(A a, A b) { return b > a ? b : a; }

constexpr unsigned ALL = 0xffffffffu;  // lanes of a warp

// f over the values of all threads of a block, always in the same order; every thread gets the result. Blocks are of one
// axis, and of whole warps.
template <typename A, typename F> __device__ inline A block_reduce(A v, F f, A none) {
    __shared__ A of_warps[32];
    for (int step = 16; step > 0; step /= 2) v = f(v, __shfl_xor_sync(ALL, v, step));
    __syncthreads();  // the values of a call before have been read
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = v;
    __syncthreads();
    v = threadIdx.x % 32 < blockDim.x / 32 ? of_warps[threadIdx.x % 32] : none;
    for (int step = 16; step > 0; step /= 2) v = f(v, __shfl_xor_sync(ALL, v, step));
    return v;
}

template <typename A> __device__ inline A block_sum(A v) {
    return block_reduce(v, [](A a, A b) { return a + b; }, A(0));
}

template <typename A> __device__ inline A block_max(A v) {
    return block_reduce(v, [](A a, A b) { return larger(a, b); }, -infinity<A>());
}
