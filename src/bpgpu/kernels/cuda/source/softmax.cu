// The softmax of rows, in place or not:  p = exp(v - max v) / sum exp(v - max v),  v = scale s + bias where allowed,
// else minus infinity; and back through it,  gs = scale p (g - sum(g p)).
//
// One block a row. Rows are counted through axes (A, H, L), and a mask or a bias is read with a stride for each of
// them, 0 where it is the same for all.

struct Rows {
    int heads, length;              // H and L
    int first, head, line, column;  // strides
    __device__ size_t start(int row) const {
        const int l = row % length, h = row / length % heads, a = row / length / heads;
        return (size_t)a * first + (size_t)h * head + (size_t)l * line;
    }
};

// A row in which nothing is allowed becomes 0 if `masked`, else NaN. With `kept`, factors of the weights after dropout,
// `dropped` becomes p times them.
template <typename T, int N>
__global__ void softmax_rows(const T* s, const T* bias, Rows of_bias, const unsigned char* allowed, Rows of_allowed,
                             const T* kept, T* p, T* dropped, int columns, Wide<T> scale, int masked) {
    using A = Wide<T>;
    const size_t start = (size_t)blockIdx.x * columns;
    const T* shift = bias ? bias + of_bias.start(blockIdx.x) : nullptr;
    const unsigned char* seen = allowed ? allowed + of_allowed.start(blockIdx.x) : nullptr;
    auto score = [&](T number, int column) {
        if (seen && !seen[(size_t)column * of_allowed.column]) return -infinity<A>();
        const A v = widen(number) * scale;
        return shift ? v + widen(shift[(size_t)column * of_bias.column]) : v;
    };
    const auto* in = reinterpret_cast<const Pack<T, N>*>(s + start);
    auto* out = reinterpret_cast<Pack<T, N>*>(p + start);
    A top = -infinity<A>();
    for (int i = threadIdx.x; i < columns / N; i += blockDim.x) {
        const Pack<T, N> numbers = in[i];
        for (int k = 0; k < N; ++k) top = larger(top, score(numbers.at[k], i * N + k));
    }
    top = block_max(top);
    if (masked && top == -infinity<A>()) top = 0;
    A total = 0;
    for (int i = threadIdx.x; i < columns / N; i += blockDim.x) {
        const Pack<T, N> numbers = in[i];
        for (int k = 0; k < N; ++k) total += exp(score(numbers.at[k], i * N + k) - top);
    }
    total = block_sum(total);
    const A factor = A(1) / (masked && total == 0 ? A(1) : total);
    for (int i = threadIdx.x; i < columns / N; i += blockDim.x) {
        const Pack<T, N> numbers = in[i];
        Pack<T, N> weights;
        for (int k = 0; k < N; ++k) weights.at[k] = narrow<T>(exp(score(numbers.at[k], i * N + k) - top) * factor);
        out[i] = weights;
        if (kept) {
            const Pack<T, N> factors = reinterpret_cast<const Pack<T, N>*>(kept + start)[i];
            for (int k = 0; k < N; ++k) weights.at[k] = narrow<T>(widen(weights.at[k]) * widen(factors.at[k]));
            reinterpret_cast<Pack<T, N>*>(dropped + start)[i] = weights;
        }
    }
}

template <typename T, int N>
__global__ void softmax_rows_back(const T* p, const T* g, const T* kept, T* gs, int columns, Wide<T> scale) {
    using A = Wide<T>;
    const size_t start = (size_t)blockIdx.x * columns;
    const auto* weights = reinterpret_cast<const Pack<T, N>*>(p + start);
    const auto* in = reinterpret_cast<const Pack<T, N>*>(g + start);
    const auto* factors = reinterpret_cast<const Pack<T, N>*>(kept + start);
    auto* out = reinterpret_cast<Pack<T, N>*>(gs + start);
    A total = 0;
    for (int i = threadIdx.x; i < columns / N; i += blockDim.x) {
        const Pack<T, N> weight = weights[i], given = in[i];
        for (int k = 0; k < N; ++k) {
            const A reached = kept ? widen(given.at[k]) * widen(factors[i].at[k]) : widen(given.at[k]);
            total += reached * widen(weight.at[k]);
        }
    }
    total = block_sum(total);
    for (int i = threadIdx.x; i < columns / N; i += blockDim.x) {
        const Pack<T, N> weight = weights[i], given = in[i];
        Pack<T, N> results;
        for (int k = 0; k < N; ++k) {
            const A reached = kept ? widen(given.at[k]) * widen(factors[i].at[k]) : widen(given.at[k]);
            results.at[k] = narrow<T>(scale * widen(weight.at[k]) * (reached - total));
        }
        out[i] = results;
    }
}

// log_softmax:  y = x - max x - log(sum exp(x - max x)),  gx = g - exp(y) sum(g).
template <typename T, int N>
__global__ void log_softmax_rows(const T* x, T* y, int columns) {
    using A = Wide<T>;
    const size_t start = (size_t)blockIdx.x * columns;
    const auto* in = reinterpret_cast<const Pack<T, N>*>(x + start);
    A top = -infinity<A>();
    for (int i = threadIdx.x; i < columns / N; i += blockDim.x) {
        const Pack<T, N> numbers = in[i];
        for (int k = 0; k < N; ++k) top = larger(top, A(widen(numbers.at[k])));
    }
    top = block_max(top);
    A total = 0;
    for (int i = threadIdx.x; i < columns / N; i += blockDim.x) {
        const Pack<T, N> numbers = in[i];
        for (int k = 0; k < N; ++k) total += exp(widen(numbers.at[k]) - top);
    }
    const A logarithm = log(block_sum(total));
    for (int i = threadIdx.x; i < columns / N; i += blockDim.x) {
        const Pack<T, N> numbers = in[i];
        Pack<T, N> results;
        for (int k = 0; k < N; ++k) results.at[k] = narrow<T>(widen(numbers.at[k]) - top - logarithm);
        reinterpret_cast<Pack<T, N>*>(y + start)[i] = results;
    }
}

template <typename T, int N>
__global__ void log_softmax_rows_back(const T* y, const T* g, T* gx, int columns) {
    using A = Wide<T>;
    const size_t start = (size_t)blockIdx.x * columns;
    const auto* in = reinterpret_cast<const Pack<T, N>*>(g + start);
    A total = 0;
    for (int i = threadIdx.x; i < columns / N; i += blockDim.x) {
        const Pack<T, N> given = in[i];
        for (int k = 0; k < N; ++k) total += widen(given.at[k]);
    }
    total = block_sum(total);
    for (int i = threadIdx.x; i < columns / N; i += blockDim.x) {
        const Pack<T, N> given = in[i], numbers = reinterpret_cast<const Pack<T, N>*>(y + start)[i];
        Pack<T, N> results;
        for (int k = 0; k < N; ++k) results.at[k] = narrow<T>(widen(given.at[k]) - exp(widen(numbers.at[k])) * total);
        reinterpret_cast<Pack<T, N>*>(gx + start)[i] = results;
    }
}
