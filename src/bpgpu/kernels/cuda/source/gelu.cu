// gelu, exact and by a tanh, and their derivatives; nothing is kept for the way back but x.

template <typename A> struct Exact {  // x P(x), the derivative P(x) + x p(x)
    static __device__ A below(A x) { return A(0.5) * (A(1) + erf(x * A(0.70710678118654752))); }
    static __device__ A value(A x) { return x * below(x); }
    static __device__ A slope(A x) { return below(x) + x * (A(0.39894228040143268) * exp(A(-0.5) * x * x)); }
};

template <typename A> struct ByTanh {  // x (1 + t) / 2 with t = tanh(k (x + c x^3))
    static __device__ A inner(A x) { return tanh(A(0.79788456080286536) * (x * (A(1) + A(0.044715) * (x * x)))); }
    static __device__ A value(A x) { return x * (A(0.5) * (A(1) + inner(x))); }
    static __device__ A slope(A x) {
        const A t = inner(x);
        return A(0.5) * (A(1) + t + x * ((A(1) - t * t) * (A(0.79788456080286536) * (A(1) + A(3 * 0.044715) * (x * x)))));
    }
};

template <typename T, int N, template <typename> class Form>
__global__ void gelu(const T* x, T* y, int size) {
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= size / N) return;
    const Pack<T, N> numbers = reinterpret_cast<const Pack<T, N>*>(x)[p];
    Pack<T, N> results;
    for (int k = 0; k < N; ++k) results.at[k] = narrow<T>(Form<Wide<T>>::value(widen(numbers.at[k])));
    reinterpret_cast<Pack<T, N>*>(y)[p] = results;
}

template <typename T, int N, template <typename> class Form>
__global__ void gelu_back(const T* x, const T* g, T* gx, int size) {
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= size / N) return;
    const Pack<T, N> numbers = reinterpret_cast<const Pack<T, N>*>(x)[p];
    const Pack<T, N> given = reinterpret_cast<const Pack<T, N>*>(g)[p];
    Pack<T, N> results;
    for (int k = 0; k < N; ++k)
        results.at[k] = narrow<T>(widen(given.at[k]) * Form<Wide<T>>::slope(widen(numbers.at[k])));
    reinterpret_cast<Pack<T, N>*>(gx)[p] = results;
}
