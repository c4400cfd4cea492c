// Activations: their values and their derivatives, for the kernels that have them as templates.

template <typename A> struct Same { static __device__ A value(A x) { return x; } };
template <typename A> struct Relu { static __device__ A value(A x) { return x < 0 ? A(0) : x; } };  // NaN stays

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

