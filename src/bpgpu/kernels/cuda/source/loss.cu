// The cross-entropy of a softmax with classes, forward and back, over the scores (rows, columns) of positions:
//   with P = softmax(x) and w_t the weight of the label's class,
//   loss = -(1 - s) w_t log P_t - s / C sum_c w_c log P_c           0 for a label to ignore, NaN for a wrong one
//   gx_c = g (A P_c - (1 - s) w_t [c = t] - s / C w_c)  with  A = (1 - s) w_t + s / C sum_c w_c
//
// The scores of position r stand `step` apart; with a step of 1 a block takes a position, else a thread does.

template <typename A> struct Row {  // what is known of a position
    A loss, counts, top, total;     // counts in the mean as much as this; max x; sum exp(x - max x)
};

template <typename A> struct Settings {
    A smoothing;      // s
    long long ignored;
    int leaves_out;   // whether there is a label to ignore
};

// Joins numbers of the threads that share a position: all of a block, or one alone.
struct Shared {
    template <typename A> static __device__ A max(A v) { return block_max(v); }
    template <typename A> static __device__ A sum(A v) { return block_sum(v); }
};
struct Alone {
    template <typename A> static __device__ A max(A v) { return v; }
    template <typename A> static __device__ A sum(A v) { return v; }
};

template <typename T, typename W> __device__ inline Wide<T> weight_of(const W* w, long long c) {
    return w ? Wide<T>(widen(w[c])) : Wide<T>(1);
}

// `from` and `by` are the first pack of the row that the thread takes and how many it goes on by.
template <typename T, int N, typename Together>
__device__ inline Row<Wide<T>> row_of(const T* x, long long label, const T* w, int columns, int step, int from, int by,
                                      Settings<Wide<T>> settings) {
    using A = Wide<T>;
    auto pack = [&](int i) { return *reinterpret_cast<const Pack<T, N>*>(x + (size_t)i * N * step); };
    A top = -infinity<A>();
    for (int i = from; i < columns / N; i += by) {
        const Pack<T, N> numbers = pack(i);
        for (int k = 0; k < N; ++k) top = larger(top, A(widen(numbers.at[k])));
    }
    top = Together::max(top);
    A total = 0, smooth = 0, weights = 0;
    for (int i = from; i < columns / N; i += by) {
        const Pack<T, N> numbers = pack(i);
        for (int k = 0; k < N; ++k) {
            const A z = widen(numbers.at[k]) - top;
            total += exp(z);
            if (settings.smoothing > 0) {
                const A share = weight_of<T>(w, i * N + k);
                weights += share;
                smooth += share * z;
            }
        }
    }
    total = Together::sum(total);
    if (settings.smoothing > 0) smooth = Together::sum(smooth), weights = Together::sum(weights);
    if (settings.leaves_out && label == settings.ignored) return {0, 0, top, total};
    const bool wrong = label < 0 || label >= columns;
    const A counts = weight_of<T>(w, wrong ? 0 : label), logarithm = log(total);
    if (wrong) return {A(__int_as_float(0x7fffffff)), counts, top, total};
    const A z = widen(x[(size_t)label * step]) - top;
    A loss = counts * (logarithm - z);
    if (settings.smoothing > 0)
        loss = (A(1) - settings.smoothing) * loss + settings.smoothing / columns * (weights * logarithm - smooth);
    return {loss, counts, top, total};
}

template <typename T, typename I, int N>
__global__ void entropy_rows(const T* x, const I* labels, const T* w, Row<Wide<T>>* rows, T* losses, int columns,
                             Settings<Wide<T>> settings) {
    const int r = blockIdx.x;
    const auto row = row_of<T, N, Shared>(x + (size_t)r * columns, labels[r], w, columns, 1, threadIdx.x, blockDim.x, settings);
    if (threadIdx.x != 0) return;
    rows[r] = row;
    if (losses) losses[r] = narrow<T>(row.loss);
}

// Positions along D in (N, C, D).
template <typename T, typename I>
__global__ void entropy_places(const T* x, const I* labels, const T* w, Row<Wide<T>>* rows, T* losses, int columns,
                               int step, int count, Settings<Wide<T>> settings) {
    const int r = blockIdx.x * blockDim.x + threadIdx.x;
    if (r >= count) return;
    const T* first = x + (size_t)(r / step) * columns * step + r % step;
    const auto row = row_of<T, 1, Alone>(first, labels[r], w, columns, step, 0, 1, settings);
    rows[r] = row;
    if (losses) losses[r] = narrow<T>(row.loss);
}

// The sum of all losses, or, with `mean`, that divided by the sum of what counts. One block, always in the same order.
template <typename T> __global__ void entropy_joined(const Row<Wide<T>>* rows, T* y, Wide<T>* divisor, int count, int mean) {
    using A = Wide<T>;
    A loss = 0, counts = 0;
    for (int r = threadIdx.x; r < count; r += blockDim.x) loss += rows[r].loss, counts += rows[r].counts;
    loss = block_sum(loss), counts = block_sum(counts);
    if (threadIdx.x != 0) return;
    if (mean && counts == 0) counts = A(__int_as_float(0x7fffffff));  // the mean over no position is NaN
    *divisor = mean ? counts : A(1);
    *y = narrow<T>(loss / *divisor);
}

// The gradient at one score. `g` is that of the position's loss.
template <typename T>
__device__ inline T entropy_slope(T x, int c, long long label, const T* w, const Row<Wide<T>>& row, Wide<T> weights,
                                  Wide<T> g, int columns, Settings<Wide<T>> settings) {
    using A = Wide<T>;
    const A share = settings.smoothing / columns, own = (A(1) - settings.smoothing) * row.counts;
    A slope = exp(widen(x) - row.top) / row.total * (own + share * weights) - (c == label ? own : A(0));
    if (settings.smoothing > 0) slope -= share * weight_of<T>(w, c);
    return narrow<T>(g * slope);
}

template <typename T, typename I>
__device__ inline bool counted(I label, int columns, Settings<Wide<T>> settings) {
    return label >= 0 && label < columns && !(settings.leaves_out && label == settings.ignored);
}

// `every` is 1 if each position has a gradient of its own, 0 if all have the same, to be divided.
template <typename T, typename I, int N>
__global__ void entropy_rows_back(const T* x, const I* labels, const T* w, const Row<Wide<T>>* rows, const T* g, int every,
                                  const Wide<T>* divisor, T* gx, int columns, Settings<Wide<T>> settings) {
    using A = Wide<T>;
    const int r = blockIdx.x;
    const Row<A> row = rows[r];
    const I label = labels[r];
    const bool counts = counted<T>(label, columns, settings);
    const A given = counts ? widen(g[every ? r : 0]) / (divisor ? *divisor : A(1)) : A(0);
    A weights = 0;
    if (settings.smoothing > 0) {
        for (int c = threadIdx.x; c < columns; c += blockDim.x) weights += weight_of<T>(w, c);
        weights = block_sum(weights);
    }
    const auto* in = reinterpret_cast<const Pack<T, N>*>(x + (size_t)r * columns);
    auto* out = reinterpret_cast<Pack<T, N>*>(gx + (size_t)r * columns);
    for (int i = threadIdx.x; i < columns / N; i += blockDim.x) {
        const Pack<T, N> numbers = in[i];
        Pack<T, N> results;
        for (int k = 0; k < N; ++k)
            results.at[k] = counts ? entropy_slope<T>(numbers.at[k], i * N + k, label, w, row, weights, given, columns, settings)
                                   : narrow<T>(A(0));
        out[i] = results;
    }
}

template <typename T, typename I>
__global__ void entropy_places_back(const T* x, const I* labels, const T* w, const Row<Wide<T>>* rows, const T* g,
                                    int every, const Wide<T>* divisor, T* gx, int columns, int step, int count,
                                    Settings<Wide<T>> settings) {
    using A = Wide<T>;
    const int r = blockIdx.x * blockDim.x + threadIdx.x;
    if (r >= count) return;
    const Row<A> row = rows[r];
    const I label = labels[r];
    const bool counts = counted<T>(label, columns, settings);
    const A given = counts ? widen(g[every ? r : 0]) / (divisor ? *divisor : A(1)) : A(0);
    A weights = 0;
    if (settings.smoothing > 0)
        for (int c = 0; c < columns; ++c) weights += weight_of<T>(w, c);
    const size_t first = (size_t)(r / step) * columns * step + r % step;
    for (int c = 0; c < columns; ++c) {
        const size_t i = first + (size_t)c * step;
        gx[i] = counts ? entropy_slope<T>(x[i], c, label, w, row, weights, given, columns, settings) : narrow<T>(A(0));
    }
}
