// What an LSTM and a GRU do in one step beside their products, forward and backward.
//
// The activated gates are kept for the way back, in the place of the products with the inputs. Where a sequence is not
// there (mask of 0) its state stays as it was, the output is 0, and gradients pass by.

template <typename A> __device__ A sigmoid(A x) { return A(0.5) * tanh(A(0.5) * x) + A(0.5); }

template <typename T> __device__ Wide<T> or_zero(const T* x, size_t i) { return x ? Wide<T>(widen(x[i])) : Wide<T>(0); }

// c' = f c + i g,  h' = o tanh(c').  gates: (N, 4 H) of i, f, g, o.
template <typename T>
__global__ void lstm_step(T* gates, const T* recurrent, const T* b_ih, const T* b_hh, const T* h_old, const T* c_old,
                          T* h_new, T* c_new, T* y, const unsigned char* mask, int n, int size) {
    using A = Wide<T>;
    const int e = blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= n * size) return;
    const int row = e / size, column = e % size;
    A z[4];
    for (int k = 0; k < 4; ++k) {
        const size_t i = (size_t)(row * 4 + k) * size + column;
        z[k] = widen(gates[i]) + widen(recurrent[i]) + or_zero(b_ih, k * size + column) + or_zero(b_hh, k * size + column);
        z[k] = k == 2 ? tanh(z[k]) : sigmoid(z[k]);
        gates[i] = narrow<T>(z[k]);
    }
    const bool here = !mask || mask[row];
    const A c = z[1] * widen(c_old[e]) + z[0] * z[2], h = z[3] * tanh(c);
    c_new[e] = here ? narrow<T>(c) : c_old[e];
    h_new[e] = here ? narrow<T>(h) : h_old[e];
    if (y) y[e] = here ? narrow<T>(h) : narrow<T>(A(0));
}

// The gradients of the state after a step come as the sum of three: what passed by the step after it (dh), what came
// through the gates of that (through), and what the output of this step got (gy). From that and dc: d_gates; and dh
// and dc become what passes by this step.
template <typename T>
__global__ void lstm_step_back(const T* gates, const T* c_old, const T* through, const T* gy, T* dh, T* dc, T* d_gates,
                               const unsigned char* mask, int n, int size) {
    using A = Wide<T>;
    const int e = blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= n * size) return;
    const int row = e / size, column = e % size;
    const size_t first = (size_t)row * 4 * size + column, second = first + size, third = second + size,
                 fourth = third + size;
    const A arriving = widen(dh[e]) + or_zero(through, e);
    if (mask && !mask[row]) {
        d_gates[first] = d_gates[second] = d_gates[third] = d_gates[fourth] = narrow<T>(A(0));
        dh[e] = narrow<T>(arriving);
        return;
    }
    const A i = widen(gates[first]), f = widen(gates[second]), g = widen(gates[third]), o = widen(gates[fourth]);
    const A c = widen(c_old[e]), t = tanh(f * c + i * g), d = arriving + or_zero(gy, e);
    const A through_c = widen(dc[e]) + d * o * (A(1) - t * t);
    d_gates[first] = narrow<T>(through_c * g * i * (A(1) - i));
    d_gates[second] = narrow<T>(through_c * c * f * (A(1) - f));
    d_gates[third] = narrow<T>(through_c * i * (A(1) - g * g));
    d_gates[fourth] = narrow<T>(d * t * o * (A(1) - o));
    dc[e] = narrow<T>(through_c * f);
    dh[e] = narrow<T>(A(0));
}

// n = tanh(a_n + r b_n),  h' = (1 - z) n + z h.  gates: (N, 3 H) of r, z, n; inner: b_n.
template <typename T>
__global__ void gru_step(T* gates, const T* recurrent, const T* b_ih, const T* b_hh, T* inner, const T* h_old, T* h_new,
                         T* y, const unsigned char* mask, int n, int size) {
    using A = Wide<T>;
    const int e = blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= n * size) return;
    const int row = e / size, column = e % size;
    const size_t first = (size_t)row * 3 * size + column, second = first + size, third = second + size;
    const A r = sigmoid(widen(gates[first]) + widen(recurrent[first]) + or_zero(b_ih, column) + or_zero(b_hh, column));
    const A z = sigmoid(widen(gates[second]) + widen(recurrent[second]) + or_zero(b_ih, size + column) +
                        or_zero(b_hh, size + column));
    const A b = widen(recurrent[third]) + or_zero(b_hh, 2 * size + column);
    const A fresh = tanh(widen(gates[third]) + or_zero(b_ih, 2 * size + column) + r * b), h = widen(h_old[e]);
    gates[first] = narrow<T>(r);
    gates[second] = narrow<T>(z);
    gates[third] = narrow<T>(fresh);
    inner[e] = narrow<T>(b);
    const bool here = !mask || mask[row];
    const T state = narrow<T>(fresh + z * (h - fresh));
    h_new[e] = here ? state : h_old[e];
    if (y) y[e] = here ? state : narrow<T>(A(0));
}

// What reaches the gates from the input, and from the state; dh becomes what passes by them.
template <typename T>
__global__ void gru_step_back(const T* gates, const T* inner, const T* h_old, const T* through, const T* gy, T* dh, T* by_x,
                              T* by_h, const unsigned char* mask, int n, int size) {
    using A = Wide<T>;
    const int e = blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= n * size) return;
    const int row = e / size, column = e % size;
    const size_t first = (size_t)row * 3 * size + column, second = first + size, third = second + size;
    const A arriving = widen(dh[e]) + or_zero(through, e);
    if (mask && !mask[row]) {
        by_x[first] = by_x[second] = by_x[third] = narrow<T>(A(0));
        by_h[first] = by_h[second] = by_h[third] = narrow<T>(A(0));
        dh[e] = narrow<T>(arriving);
        return;
    }
    const A r = widen(gates[first]), z = widen(gates[second]), fresh = widen(gates[third]);
    const A d = arriving + or_zero(gy, e);
    const A dn = d * (A(1) - z) * (A(1) - fresh * fresh);
    const T dr = narrow<T>(dn * widen(inner[e]) * r * (A(1) - r));
    const T dz = narrow<T>(d * (widen(h_old[e]) - fresh) * z * (A(1) - z));
    by_x[first] = by_h[first] = dr;
    by_x[second] = by_h[second] = dz;
    by_x[third] = narrow<T>(dn);
    by_h[third] = narrow<T>(dn * r);
    dh[e] = narrow<T>(d * z);
}
