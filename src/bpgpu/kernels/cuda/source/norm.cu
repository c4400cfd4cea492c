// Batch, layer and RMS normalisation:  z = (x - m) / sqrt(v + eps),  y = w z + b,
//   gx = (gz - mean(gz) - z mean(gz z)) / sqrt(v + eps)  with gz = w g,   gw = sum(g z),   gb = sum(g).
//
// Numbers stand in a matrix (rows, columns); w and b run along its columns. Layer and RMS norm take their statistics
// along the rows, batch norm down the columns. An image (N, C, *S) that is not channels last is a matrix, too, whose
// row r and column c stand at (r / inner * columns + c) * inner + r % inner, inner being the size of a plane.
//
// Sums down columns are made by blocks of (columns, rows) threads over chunks of the rows, and joined in a second
// kernel, always in the same order.

template <typename T, typename W, int N>
__global__ void norm_rows(const T* x, const W* w, const W* b, T* y, Wide<T>* means, Wide<T>* variances,
                          Wide<T>* inverses, int columns, Wide<T> eps, int centre) {
    using A = Wide<T>;
    const size_t start = (size_t)blockIdx.x * columns;
    const auto* in = reinterpret_cast<const Pack<T, N>*>(x + start);
    auto* out = reinterpret_cast<Pack<T, N>*>(y + start);
    A total = 0;
    for (int p = threadIdx.x; p < columns / N; p += blockDim.x) {
        const Pack<T, N> numbers = in[p];
        for (int k = 0; k < N; ++k) total += widen(numbers.at[k]);
    }
    const A mean = block_sum(total) / columns;
    const A origin = centre ? mean : A(0);
    A squares = 0;
    for (int p = threadIdx.x; p < columns / N; p += blockDim.x) {
        const Pack<T, N> numbers = in[p];
        for (int k = 0; k < N; ++k) {
            const A d = widen(numbers.at[k]) - origin;
            squares += d * d;
        }
    }
    const A variance = block_sum(squares) / columns;
    const A inverse = A(1) / sqrt(variance + eps);
    if (threadIdx.x == 0) {
        means[blockIdx.x] = mean;
        variances[blockIdx.x] = variance;
        inverses[blockIdx.x] = inverse;
    }
    for (int p = threadIdx.x; p < columns / N; p += blockDim.x) {
        const Pack<T, N> numbers = in[p];
        Pack<T, N> results;
        for (int k = 0; k < N; ++k) {
            A z = (widen(numbers.at[k]) - origin) * inverse;
            if (w) z *= A(widen(w[p * N + k]));
            if (b) z += A(widen(b[p * N + k]));
            results.at[k] = narrow<T>(z);
        }
        out[p] = results;
    }
}

// The gradient of x, of statistics along rows.
template <typename T, typename W, int N>
__global__ void norm_rows_back(const T* x, const T* g, const W* w, const Wide<T>* means, const Wide<T>* inverses,
                               T* gx, int columns, int centre) {
    using A = Wide<T>;
    const size_t start = (size_t)blockIdx.x * columns;
    const auto* in = reinterpret_cast<const Pack<T, N>*>(x + start);
    const auto* gradients = reinterpret_cast<const Pack<T, N>*>(g + start);
    auto* out = reinterpret_cast<Pack<T, N>*>(gx + start);
    const A inverse = inverses[blockIdx.x], origin = centre ? means[blockIdx.x] : A(0);
    A through_mean = 0, through_variance = 0;
    for (int p = threadIdx.x; p < columns / N; p += blockDim.x) {
        const Pack<T, N> numbers = in[p], given = gradients[p];
        for (int k = 0; k < N; ++k) {
            const A gz = widen(given.at[k]) * (w ? A(widen(w[p * N + k])) : A(1));
            through_mean += gz;
            through_variance += gz * ((widen(numbers.at[k]) - origin) * inverse);
        }
    }
    through_mean = centre ? block_sum(through_mean) / columns : A(0);
    through_variance = block_sum(through_variance) / columns;
    for (int p = threadIdx.x; p < columns / N; p += blockDim.x) {
        const Pack<T, N> numbers = in[p], given = gradients[p];
        Pack<T, N> results;
        for (int k = 0; k < N; ++k) {
            const A gz = widen(given.at[k]) * (w ? A(widen(w[p * N + k])) : A(1));
            const A z = (widen(numbers.at[k]) - origin) * inverse;
            results.at[k] = narrow<T>((gz - through_mean - z * through_variance) * inverse);
        }
        out[p] = results;
    }
}

// ---- down the columns

// How many numbers there are, their mean, and the sum of the squares of their differences from it.
template <typename A> struct Moments {
    A count, mean, squares;
    __device__ void take(A x) {
        count += 1;
        const A d = x - mean;
        mean += d / count;
        squares += d * (x - mean);
    }
    __device__ void join(const Moments& other) {
        const A both = count + other.count;
        if (both == 0) return;
        const A d = other.mean - mean, share = other.count / both;
        mean += d * share;
        squares += other.squares + d * d * count * share;
        count = both;
    }
};

template <typename A> struct Sums {
    A of_g, of_gz;
    __device__ void join(const Sums& other) { of_g += other.of_g, of_gz += other.of_gz; }
};

// Joined down the threads of a block that have the same threadIdx.x; for threadIdx.y of 0.
template <typename S> __device__ S joined(S own) {
    __shared__ S shared[256];
    const int me = threadIdx.y * blockDim.x + threadIdx.x;
    shared[me] = own;
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) shared[me].join(shared[me + half * blockDim.x]);
    }
    return shared[me];
}

__device__ inline size_t place(int row, int column, int columns, int inner) {
    if (inner == 1) return (size_t)row * columns + column;
    return ((size_t)(row / inner) * columns + column) * inner + row % inner;
}

// The moments of a chunk of rows, of differences from the first number, which keeps their digits.
template <typename T>
__global__ void norm_moments(const T* x, Moments<Wide<T>>* parts, int rows, int columns, int inner, int chunk) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x, end = min(rows, (int)(blockIdx.y + 1) * chunk);
    Moments<Wide<T>> moments = {0, 0, 0};
    if (c < columns) {
        const Wide<T> first = widen(x[place(0, c, columns, inner)]);
        for (int r = blockIdx.y * chunk + threadIdx.y; r < end; r += blockDim.y)
            moments.take(widen(x[place(r, c, columns, inner)]) - first);
    }
    moments = joined(moments);
    if (c < columns && threadIdx.y == 0) parts[(size_t)blockIdx.y * columns + c] = moments;
}

template <typename T>
__global__ void norm_moments_joined(const T* x, const Moments<Wide<T>>* parts, Wide<T>* means, Wide<T>* variances,
                                    Wide<T>* inverses, int chunks, int columns, int inner, Wide<T> eps) {
    using A = Wide<T>;
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    Moments<A> moments = {0, 0, 0};
    if (c < columns)
        for (int i = threadIdx.y; i < chunks; i += blockDim.y) moments.join(parts[(size_t)i * columns + c]);
    moments = joined(moments);
    if (c < columns && threadIdx.y == 0) {
        const A variance = moments.squares / moments.count;
        means[c] = moments.mean + A(widen(x[place(0, c, columns, inner)]));
        variances[c] = variance;
        inverses[c] = A(1) / sqrt(variance + eps);
    }
}

template <typename T, typename W, int N>
__global__ void norm_columns(const T* x, const W* w, const W* b, const Wide<T>* means, const Wide<T>* inverses,
                             T* y, int size, int columns, int inner) {
    using A = Wide<T>;
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= size / N) return;
    const Pack<T, N> numbers = reinterpret_cast<const Pack<T, N>*>(x)[p];
    Pack<T, N> results;
    for (int k = 0; k < N; ++k) {
        const int c = (p * N + k) / inner % columns;
        A z = (widen(numbers.at[k]) - means[c]) * inverses[c];
        if (w) z *= A(widen(w[c]));
        if (b) z += A(widen(b[c]));
        results.at[k] = narrow<T>(z);
    }
    reinterpret_cast<Pack<T, N>*>(y)[p] = results;
}

// Sums of g and g z over a chunk of rows. The statistics are those of columns, or of rows.
template <typename T>
__global__ void norm_sums(const T* x, const T* g, const Wide<T>* means, const Wide<T>* inverses,
                          Sums<Wide<T>>* parts, int rows, int columns, int inner, int chunk, int along_rows,
                          int centre) {
    using A = Wide<T>;
    const int c = blockIdx.x * blockDim.x + threadIdx.x, end = min(rows, (int)(blockIdx.y + 1) * chunk);
    Sums<A> sums = {0, 0};
    if (c < columns)
        for (int r = blockIdx.y * chunk + threadIdx.y; r < end; r += blockDim.y) {
            const size_t i = place(r, c, columns, inner);
            const int s = along_rows ? r : c;
            const A given = widen(g[i]);
            sums.of_g += given;
            sums.of_gz += given * ((widen(x[i]) - (centre ? means[s] : A(0))) * inverses[s]);
        }
    sums = joined(sums);
    if (c < columns && threadIdx.y == 0) parts[(size_t)blockIdx.y * columns + c] = sums;
}

template <typename A, typename W>
__global__ void norm_sums_joined(const Sums<A>* parts, Sums<A>* totals, W* gw, W* gb, int chunks, int columns) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    Sums<A> sums = {0, 0};
    if (c < columns)
        for (int i = threadIdx.y; i < chunks; i += blockDim.y) sums.join(parts[(size_t)i * columns + c]);
    sums = joined(sums);
    if (c < columns && threadIdx.y == 0) {
        totals[c] = sums;
        if (gw) gw[c] = narrow<W>(sums.of_gz);
        if (gb) gb[c] = narrow<W>(sums.of_g);
    }
}

// The gradient of x, of statistics down columns; w is the same for all numbers of a column.
template <typename T, typename W, int N>
__global__ void norm_columns_back(const T* x, const T* g, const W* w, const Wide<T>* means, const Wide<T>* inverses,
                                  const Sums<Wide<T>>* totals, T* gx, int size, int columns, int inner, int rows) {
    using A = Wide<T>;
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= size / N) return;
    const Pack<T, N> numbers = reinterpret_cast<const Pack<T, N>*>(x)[p];
    const Pack<T, N> given = reinterpret_cast<const Pack<T, N>*>(g)[p];
    Pack<T, N> results;
    for (int k = 0; k < N; ++k) {
        const int c = (p * N + k) / inner % columns;
        const A inverse = inverses[c], z = (widen(numbers.at[k]) - means[c]) * inverse;
        const A d = widen(given.at[k]) - totals[c].of_g / rows - z * (totals[c].of_gz / rows);
        results.at[k] = narrow<T>(d * (w ? inverse * A(widen(w[c])) : inverse));
    }
    reinterpret_cast<Pack<T, N>*>(gx)[p] = results;
}

// ---- running statistics

// (1 - momentum) old + momentum factor fresh
template <typename T, typename U>
__global__ void norm_moved(const T* old, const U* fresh, T* out, int size, Wide<T> stays, Wide<T> comes) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < size) out[i] = narrow<T>(stays * widen(old[i]) + comes * Wide<T>(widen(fresh[i])));
}

// scale x + shift, for each column.
template <typename T, typename W, int N>
__global__ void norm_affine(const T* x, const W* scale, const W* shift, T* y, int size, int columns, int inner) {
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= size / N) return;
    const Pack<T, N> numbers = reinterpret_cast<const Pack<T, N>*>(x)[p];
    Pack<T, N> results;
    for (int k = 0; k < N; ++k) {
        const int c = (p * N + k) / inner % columns;
        results.at[k] = narrow<T>(widen(numbers.at[k]) * Wide<T>(widen(scale[c])) + Wide<T>(widen(shift[c])));
    }
    reinterpret_cast<Pack<T, N>*>(y)[p] = results;
}
