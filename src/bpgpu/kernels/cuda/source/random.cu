// Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw 2011): the words of bpgpu.random, bit by bit; and dropout,
// whose masks are made of the key where they are needed, and kept nowhere.
//
// A mask of n numbers takes its bits from B blocks, in planes: number i is of block i % B and of plane i / B. With 16
// bits a number there are four planes, the upper and lower halves of both words; with 32 bits two, the words.

struct Words { int first, second; };

__device__ inline Words threefry(const int* key, unsigned long long counter) {
    const unsigned schedule[3] = {(unsigned)key[0], (unsigned)key[1], (unsigned)key[0] ^ (unsigned)key[1] ^ 0x1bd11bdau};
    constexpr int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
    unsigned a = (unsigned)(counter >> 32) + schedule[0], b = (unsigned)counter + schedule[1];
#pragma unroll
    for (int i = 0; i < 5; ++i) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int r = rotations[i % 2][k];
            a += b;
            b = (b << r | b >> (32 - r)) ^ a;
        }
        a += schedule[(i + 1) % 3];
        b += schedule[(i + 2) % 3] + (unsigned)(i + 1);
    }
    return {(int)a, (int)b};
}

__global__ void blocks_of_key(const int* key, int* first, int* second, int count, unsigned long long start) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const Words words = threefry(key, start + i);
    first[i] = words.first;
    second[i] = words.second;
}

// Whether a number stays; the limit has no bits below the 16 that are compared.
template <int PLANES> __device__ inline bool stays(Words words, int plane, int limit) {
    if (PLANES == 2) return (plane ? words.second : words.first) < limit;
    const int word = plane < 2 ? words.first : words.second;
    return (plane % 2 ? (int)((unsigned)word << 16) : word) < limit;
}

template <int PLANES>
__global__ void mask_of_key(const int* key, unsigned char* mask, int size, int blocks, int limit) {
    const int block = blockIdx.x * blockDim.x + threadIdx.x;
    if (block >= blocks) return;
    const Words words = threefry(key, block);
#pragma unroll
    for (int plane = 0; plane < PLANES; ++plane) {
        const int i = plane * blocks + block;
        if (i < size) mask[i] = stays<PLANES>(words, plane, limit);
    }
}

// The key after this one: its low word plus one.
__global__ void key_after(const int* key, int* next) {
    next[0] = key[0];
    next[1] = (int)((unsigned)key[1] + 1u);
}

// y = f(x) scale where the mask is true, else 0. A thread has N blocks side by side, and their numbers in each plane.
template <typename T, int N, int PLANES, template <typename> class Form>
__global__ void dropped(const int* key, const T* x, T* y, int size, int blocks, int limit, Wide<T> scale) {
    using A = Wide<T>;
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= blocks / N) return;
    Words words[N];
#pragma unroll
    for (int k = 0; k < N; ++k) words[k] = threefry(key, p * N + k);
#pragma unroll
    for (int plane = 0; plane < PLANES; ++plane) {
        const int i = plane * (blocks / N) + p;
        if (i * N >= size) return;
        const Pack<T, N> numbers = reinterpret_cast<const Pack<T, N>*>(x)[i];
        Pack<T, N> results;
#pragma unroll
        for (int k = 0; k < N; ++k) {
            const bool stay = stays<PLANES>(words[k], plane, limit);
            results.at[k] = narrow<T>(stay ? Form<A>::value(widen(numbers.at[k])) * scale : A(0));
        }
        reinterpret_cast<Pack<T, N>*>(y)[i] = results;
    }
}

// Back through it, for what the result does not tell: the mask is made anew, and the derivative is that at x.
template <typename T, int N, int PLANES, template <typename> class Form>
__global__ void dropped_back(const int* key, const T* x, const T* g, T* gx, int size, int blocks, int limit,
                             Wide<T> scale) {
    using A = Wide<T>;
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= blocks / N) return;
    Words words[N];
#pragma unroll
    for (int k = 0; k < N; ++k) words[k] = threefry(key, p * N + k);
#pragma unroll
    for (int plane = 0; plane < PLANES; ++plane) {
        const int i = plane * (blocks / N) + p;
        if (i * N >= size) return;
        const Pack<T, N> numbers = reinterpret_cast<const Pack<T, N>*>(x)[i], given = reinterpret_cast<const Pack<T, N>*>(g)[i];
        Pack<T, N> results;
#pragma unroll
        for (int k = 0; k < N; ++k) {
            const bool stay = stays<PLANES>(words[k], plane, limit);
            const A reached = stay ? widen(given.at[k]) * scale : A(0);  // times a slope of NaN it is that, as elsewhere
            results.at[k] = narrow<T>(reached * Form<A>::slope(widen(numbers.at[k])));
        }
        reinterpret_cast<Pack<T, N>*>(gx)[i] = results;
    }
}

template <typename T, int N> __global__ void relu(const T* x, T* y, int size) {
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= size / N) return;
    const Pack<T, N> numbers = reinterpret_cast<const Pack<T, N>*>(x)[p];
    Pack<T, N> results;
#pragma unroll
    for (int k = 0; k < N; ++k) results.at[k] = narrow<T>(Relu<Wide<T>>::value(widen(numbers.at[k])));
    reinterpret_cast<Pack<T, N>*>(y)[p] = results;
}

// Where a result of relu is 0, whether it was that or was dropped, no gradient goes back.
template <typename T, int N> __global__ void relu_back(const T* y, const T* g, T* gx, int size, Wide<T> scale) {
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= size / N) return;
    const Pack<T, N> numbers = reinterpret_cast<const Pack<T, N>*>(y)[p], given = reinterpret_cast<const Pack<T, N>*>(g)[p];
    Pack<T, N> results;
#pragma unroll
    for (int k = 0; k < N; ++k)
        results.at[k] = narrow<T>(widen(numbers.at[k]) != 0 ? widen(given.at[k]) * scale : Wide<T>(0));
    reinterpret_cast<Pack<T, N>*>(gx)[p] = results;
}
