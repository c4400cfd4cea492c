// gelu, exact and by a tanh, and their derivatives; nothing is kept for the way back but x.

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
