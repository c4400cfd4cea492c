// Pooling over windows of up to three axes. An array is (outer, D, H, W, inner) in memory: inner is 1, or the channels
// where they stand last. Nothing is kept for the way back: each entry of the input asks the windows that it is in, and
// sums what they have for it, always in the same order.

struct Line {
    int size, kernel, stride, dilation, pad, number;
};

struct Windows {
    Line lines[3];
    int inner;
};

// The largest entry of the window at (a, b, c): the first of several, but the last NaN if there is one.
template <typename T> struct Largest {
    Wide<T> value;
    int place;  // counted through the three axes; -1 where all of the window is padding
};

template <typename T>
__device__ Largest<T> largest(const T* x, const Windows& w, int a, int b, int c) {
    Largest<T> best = {-infinity<Wide<T>>(), -1};
    const Line &da = w.lines[0], &db = w.lines[1], &dc = w.lines[2];
    for (int i = 0; i < da.kernel; ++i) {
        const int p = a * da.stride - da.pad + i * da.dilation;
        if (p < 0 || p >= da.size) continue;
        for (int j = 0; j < db.kernel; ++j) {
            const int q = b * db.stride - db.pad + j * db.dilation;
            if (q < 0 || q >= db.size) continue;
            for (int k = 0; k < dc.kernel; ++k) {
                const int r = c * dc.stride - dc.pad + k * dc.dilation;
                if (r < 0 || r >= dc.size) continue;
                const int place = (p * db.size + q) * dc.size + r;
                const Wide<T> v = widen(x[(size_t)place * w.inner]);
                if (best.place < 0 || v > best.value || v != v) best = {v, place};
            }
        }
    }
    return best;
}

struct Place {
    int a, b, c;
    size_t plane;  // of the outer axis, and which of the inner
    int inner;
};

__device__ inline Place placed(int i, int na, int nb, int nc, int inner) {
    Place at;
    at.inner = i % inner, i /= inner;
    at.c = i % nc, i /= nc;
    at.b = i % nb, i /= nb;
    at.a = i % na, at.plane = i / na;
    return at;
}

template <typename T> __global__ void maxima(const T* x, T* y, int size, Windows w) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const Place at = placed(i, w.lines[0].number, w.lines[1].number, w.lines[2].number, w.inner);
    const size_t volume = (size_t)w.lines[0].size * w.lines[1].size * w.lines[2].size * w.inner;
    y[i] = narrow<T>(largest(x + at.plane * volume + at.inner, w, at.a, at.b, at.c).value);
}

// The windows along an axis that an entry may be in: `first` to `last`; with a dilation it is not in all of them.
struct Among {
    const Line& line;
    int place, first, last;
    __device__ Among(const Line& l, int at) : line(l), place(at + l.pad) {
        const int lowest = place - (l.kernel - 1) * l.dilation;
        first = lowest <= 0 ? 0 : (lowest + l.stride - 1) / l.stride;
        last = min(l.number - 1, place / l.stride);
    }
    __device__ bool has(int window) const { return (place - window * line.stride) % line.dilation == 0; }
};

// f(a, b, c) for all windows that the entry is in.
template <typename F> __device__ void windows_of(const Windows& w, const Place& at, F f) {
    const Among a(w.lines[0], at.a), b(w.lines[1], at.b), c(w.lines[2], at.c);
    for (int i = a.first; i <= a.last; ++i)
        for (int j = b.first; j <= b.last && a.has(i); ++j)
            for (int k = c.first; k <= c.last && b.has(j); ++k)
                if (c.has(k)) f(i, j, k);
}

template <typename T> __global__ void maxima_back(const T* x, const T* g, T* gx, int size, Windows w) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const Line &da = w.lines[0], &db = w.lines[1], &dc = w.lines[2];
    const Place at = placed(i, da.size, db.size, dc.size, w.inner);
    const int own = (at.a * db.size + at.b) * dc.size + at.c;
    const T* in = x + at.plane * da.size * db.size * dc.size * w.inner + at.inner;
    const T* gradients = g + at.plane * da.number * db.number * dc.number * w.inner + at.inner;
    Wide<T> total = 0;
    windows_of(w, at, [&](int a, int b, int c) {
        if (largest(in, w, a, b, c).place == own)
            total += widen(gradients[(size_t)((a * db.number + b) * dc.number + c) * w.inner]);
    });
    gx[i] = narrow<T>(total);
}

// The mean of each window is its sum divided by `divisor`; or, if that is 0, by how many of its entries are within the
// input and `counted` entries of padding around it.
struct Divisor {
    int fixed, counted[3];
};

__device__ inline int entries(const Line& line, int number, int counted) {
    const int start = number * line.stride - line.pad;
    return min(start + line.kernel, line.size + counted) - max(start, -counted);
}

__device__ inline int divisor_of(const Windows& w, const Divisor& d, int a, int b, int c) {
    if (d.fixed) return d.fixed;
    return entries(w.lines[0], a, d.counted[0]) * entries(w.lines[1], b, d.counted[1]) *
           entries(w.lines[2], c, d.counted[2]);
}

template <typename T> __global__ void means(const T* x, T* y, int size, Windows w, Divisor d) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const Line &da = w.lines[0], &db = w.lines[1], &dc = w.lines[2];
    const Place at = placed(i, da.number, db.number, dc.number, w.inner);
    const T* in = x + at.plane * da.size * db.size * dc.size * w.inner + at.inner;
    const int a0 = at.a * da.stride - da.pad, b0 = at.b * db.stride - db.pad, c0 = at.c * dc.stride - dc.pad;
    Wide<T> total = 0;
    for (int p = max(a0, 0); p < min(a0 + da.kernel, da.size); ++p)
        for (int q = max(b0, 0); q < min(b0 + db.kernel, db.size); ++q)
            for (int r = max(c0, 0); r < min(c0 + dc.kernel, dc.size); ++r)
                total += widen(in[(size_t)((p * db.size + q) * dc.size + r) * w.inner]);
    y[i] = narrow<T>(total / divisor_of(w, d, at.a, at.b, at.c));
}

template <typename T> __global__ void means_back(const T* g, T* gx, int size, Windows w, Divisor d) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const Line &da = w.lines[0], &db = w.lines[1], &dc = w.lines[2];
    const Place at = placed(i, da.size, db.size, dc.size, w.inner);
    const T* gradients = g + at.plane * da.number * db.number * dc.number * w.inner + at.inner;
    Wide<T> total = 0;
    windows_of(w, at, [&](int a, int b, int c) {
        total += widen(gradients[(size_t)((a * db.number + b) * dc.number + c) * w.inner]) /
                 divisor_of(w, d, a, b, c);
    });
    gx[i] = narrow<T>(total);
}
