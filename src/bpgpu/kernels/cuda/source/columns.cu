// Sums down the columns of a matrix. A block of 32 by 8 threads takes 32 packs of columns and a chunk of the rows; the
// sums of chunks are added up by the same kernel, always in the same order.

constexpr int ACROSS = 32, DOWN = 8;

template <typename T, typename S, int N>
__global__ void column_sums(const T* x, S* sums, int rows, int columns, int chunk) {
    using A = Wide<T>;
    __shared__ A shared[DOWN][ACROSS * N];
    const int pack = blockIdx.x * ACROSS + threadIdx.x, end = min(rows, (int)(blockIdx.y + 1) * chunk);
    A own[N] = {};
    if (pack * N < columns)
        for (int r = blockIdx.y * chunk + threadIdx.y; r < end; r += DOWN) {
            const Pack<T, N> numbers = reinterpret_cast<const Pack<T, N>*>(x + (size_t)r * columns)[pack];
#pragma unroll
            for (int k = 0; k < N; ++k) own[k] += widen(numbers.at[k]);
        }
#pragma unroll
    for (int k = 0; k < N; ++k) shared[threadIdx.y][k * ACROSS + threadIdx.x] = own[k];
    __syncthreads();
    for (int i = threadIdx.y; i < N; i += DOWN) {
        const int c = pack * N + i;
        if (c >= columns) continue;
        A total = 0;
        for (int d = 0; d < DOWN; ++d) total += shared[d][i * ACROSS + threadIdx.x];
        sums[(size_t)blockIdx.y * columns + c] = narrow<S>(total);
    }
}
