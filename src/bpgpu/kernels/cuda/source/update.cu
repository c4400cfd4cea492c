// What optimizers do to many parameters, in one launch for 64 of them. A block takes CHUNK numbers of one parameter.
//
// Parameters and gradients stand wherever they are; the state of all of them stands in vectors, one parameter after the
// other. What changes from step to step (the step, the learning rate) is read from memory, so that a launch that was
// captured can be repeated; and so is, where it is given, whether there is a step at all.

constexpr int MOST = 64, CHUNK = 4096, TOGETHER = 4;

struct Parts {
    void* values[MOST];
    const void* gradients[MOST];
    long long start[MOST];   // where the state begins
    int size[MOST];
    int block[MOST + 1];     // the first block, and the one after the last
    int packed[MOST];        // whether TOGETHER numbers may be loaded at once
};

// f<N>(part, i, state): N numbers at i of a part, whose state stands at `state`.
template <typename F> __device__ inline void walk(const Parts& parts, F f) {
    int part = 0;
    while (parts.block[part + 1] <= (int)blockIdx.x) ++part;
    const int begin = ((int)blockIdx.x - parts.block[part]) * CHUNK, end = min(begin + CHUNK, parts.size[part]);
    if (parts.packed[part]) {
        for (int i = begin + (int)threadIdx.x * TOGETHER; i < end; i += (int)blockDim.x * TOGETHER)
            f.template at<TOGETHER>(part, i, parts.start[part] + i);
    } else {
        for (int i = begin + (int)threadIdx.x; i < end; i += blockDim.x) f.template at<1>(part, i, parts.start[part] + i);
    }
}

template <typename T, int N> __device__ inline Pack<T, N> load(const void* p, long long i) {
    return *reinterpret_cast<const Pack<T, N>*>(static_cast<const T*>(p) + i);
}

template <typename T, int N> __device__ inline void store(void* p, long long i, const Pack<T, N>& numbers) {
    *reinterpret_cast<Pack<T, N>*>(static_cast<T*>(p) + i) = numbers;
}

__device__ inline bool left_out(const bool* only_if) { return only_if && !*only_if; }

// ---- Adam:  m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w = max(w, v) or v,  p -= rate m / (sqrt(w) / root + eps)

template <typename A> struct AdamSettings { A beta1, beta2, new1, new2, log1, log2, eps, decay; int decoupled, maximize; };

template <typename A> __device__ inline A lacking(A beta, A logarithm, A t) {  // 1 - beta^t
    return beta > 0 ? -expm1(t * logarithm) : A(1);
}

// One thread: the step is counted, and numbers = (lr, lr / (1 - beta1^t), sqrt(1 - beta2^t)).
template <typename A, typename L>
__global__ void adam_begin(A* step, const L* rate, A rate_given, A* numbers, const bool* only_if, AdamSettings<A> s) {
    if (left_out(only_if)) return;
    const A t = *step + 1, lr = rate ? A(*rate) : rate_given;
    *step = t;
    numbers[0] = lr;
    numbers[1] = lr / lacking(s.beta1, s.log1, t);
    numbers[2] = sqrt(lacking(s.beta2, s.log2, t));
}

template <typename T> struct AdamWalk {
    using A = Wide<T>;
    const Parts& parts;
    A *m, *v, *largest;
    A lr, rate, root;
    AdamSettings<A> s;
    template <int N> __device__ void at(int part, int i, long long state) {
        Pack<T, N> ps = load<T, N>(parts.values[part], i);
        const Pack<T, N> gs = load<T, N>(parts.gradients[part], i);
        Pack<A, N> ms = load<A, N>(m, state), vs = load<A, N>(v, state), tops = {};
        if (largest) tops = load<A, N>(largest, state);
#pragma unroll
        for (int k = 0; k < N; ++k) {
            A p = widen(ps.at[k]), g = widen(gs.at[k]), top = tops.at[k];
            if (s.maximize) g = -g;
            if (s.decoupled) p *= A(1) - lr * s.decay;
            else if (s.decay != 0) g += s.decay * p;
            ms.at[k] = s.beta1 * ms.at[k] + s.new1 * g;
            vs.at[k] = s.beta2 * vs.at[k] + s.new2 * g * g;
            tops.at[k] = top != top ? top : larger(vs.at[k], top);
            const A w = largest ? tops.at[k] : vs.at[k];
            ps.at[k] = narrow<T>(p - rate * ms.at[k] / (sqrt(w) / root + s.eps));
        }
        store(parts.values[part], i, ps);
        store(m, state, ms);
        store(v, state, vs);
        if (largest) store(largest, state, tops);
    }
};

template <typename T>
__global__ void adam(Parts parts, Wide<T>* m, Wide<T>* v, Wide<T>* largest, const Wide<T>* numbers,
                     const bool* only_if, AdamSettings<Wide<T>> s) {
    if (left_out(only_if)) return;
    walk(parts, AdamWalk<T>{parts, m, v, largest, numbers[0], numbers[1], numbers[2], s});
}

// ---- SGD:  b = mu b + (1 - dampening) g, at the first step g;  p -= lr (g + mu b if nesterov, else b)

template <typename A> struct SgdSettings { A momentum, fresh, decay; int nesterov, maximize; };

template <typename T> struct SgdWalk {
    using A = Wide<T>;
    const Parts& parts;
    A* b;
    A lr, fresh;
    SgdSettings<A> s;
    template <int N> __device__ void at(int part, int i, long long state) {
        Pack<T, N> ps = load<T, N>(parts.values[part], i);
        const Pack<T, N> gs = load<T, N>(parts.gradients[part], i);
        Pack<A, N> bs = {};
        if (b) bs = load<A, N>(b, state);
#pragma unroll
        for (int k = 0; k < N; ++k) {
            A g = widen(gs.at[k]);
            const A p = widen(ps.at[k]);
            if (s.maximize) g = -g;
            if (s.decay != 0) g += s.decay * p;
            if (b) {
                bs.at[k] = s.momentum * bs.at[k] + fresh * g;
                g = s.nesterov ? g + s.momentum * bs.at[k] : bs.at[k];
            }
            ps.at[k] = narrow<T>(p - lr * g);
        }
        store(parts.values[part], i, ps);
        if (b) store(b, state, bs);
    }
};

// `step` counts the steps before this one, and is counted on afterwards.
template <typename T, typename L>
__global__ void sgd(Parts parts, Wide<T>* b, const Wide<T>* step, const L* rate, Wide<T> rate_given,
                    const bool* only_if, SgdSettings<Wide<T>> s) {
    if (left_out(only_if)) return;
    using A = Wide<T>;
    const A fresh = step && *step == 0 ? A(1) : s.fresh, lr = rate ? A(*rate) : rate_given;
    walk(parts, SgdWalk<T>{parts, b, lr, fresh, s});
}

template <typename A> __global__ void counted_on(A* step, const bool* only_if) {
    if (!left_out(only_if)) *step += 1;
}

// ---- gradients:  the norm of all of them, and each times  min(1, most / (norm + 1e-6))

template <typename T> struct SquaresWalk {
    const Parts& parts;
    Wide<T>& total;
    template <int N> __device__ void at(int part, int i, long long) {
        const Pack<T, N> gs = load<T, N>(parts.gradients[part], i);
#pragma unroll
        for (int k = 0; k < N; ++k) total += Wide<T>(widen(gs.at[k])) * Wide<T>(widen(gs.at[k]));
    }
};

// The squares of the numbers of a block.
template <typename T> __global__ void squares(Parts parts, Wide<T>* sums) {
    Wide<T> total = 0;
    walk(parts, SquaresWalk<T>{parts, total});
    total = block_sum(total);
    if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

// One block, always in the same order.
template <typename A> __global__ void root_of_sum(const A* sums, A* norm, int count) {
    A total = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) total += sums[i];
    total = block_sum(total);
    if (threadIdx.x == 0) *norm = sqrt(total);
}

template <typename T> struct ScaledWalk {
    const Parts& parts;
    Wide<T> factor;
    template <int N> __device__ void at(int part, int i, long long) {
        Pack<T, N> gs = load<T, N>(parts.gradients[part], i);
#pragma unroll
        for (int k = 0; k < N; ++k) gs.at[k] = narrow<T>(widen(gs.at[k]) * factor);
        store(parts.values[part], i, gs);
    }
};

template <typename T> __global__ void clipped(Parts parts, const Wide<T>* norm, Wide<T> most) {
    using A = Wide<T>;
    const A factor = most / (*norm + A(1e-6));
    walk(parts, ScaledWalk<T>{parts, factor > 1 ? A(1) : factor});  // NaN stays
}

// ---- loss scaling:  each gradient divided by the scale, and whether all of them are finite then

template <typename T> struct UnscaledWalk {
    const Parts& parts;
    T factor;
    bool& finite;
    template <int N> __device__ void at(int part, int i, long long) {
        Pack<T, N> gs = load<T, N>(parts.gradients[part], i);
#pragma unroll
        for (int k = 0; k < N; ++k) {
            gs.at[k] *= factor;
            finite = finite && gs.at[k] - gs.at[k] == 0;  // else NaN
        }
        store(parts.values[part], i, gs);
    }
};

// `finite` is true at the start; those who know better all write the same.
template <typename T> __global__ void unscaled(Parts parts, const float* scale, bool* finite) {
    bool mine = true;
    walk(parts, UnscaledWalk<T>{parts, T(1 / *scale), mine});
    if (!mine) *finite = false;
}
