// Rows of a table, and the sums of gradients for them, in an order that never changes.
//
// The occurrences of indices are taken in chunks. Within a chunk, the block of the first occurrence of an index sums the
// gradients of all of them, and sets the bit of the chunk for that row of the table. Then the block of each row of the
// table adds up what the chunks with a bit have for it. Bits are set by atomic operations, for which order does not
// matter; numbers never are.

constexpr int CHUNK = 512;

template <typename T, typename I, int N>
__global__ void take_rows(const T* table, const I* index, T* y, int width) {
    const auto* from = reinterpret_cast<const Pack<T, N>*>(table + (size_t)index[blockIdx.x] * width);
    auto* to = reinterpret_cast<Pack<T, N>*>(y + (size_t)blockIdx.x * width);
    for (int i = threadIdx.x; i < width / N; i += blockDim.x) to[i] = from[i];
}

// A bit for each of 32 places from here on that has this index. A warp takes part as a whole.
template <typename I> __device__ unsigned occurrences(const I* index, I row, int from, int end) {
    const int i = from + threadIdx.x % 32;
    return __ballot_sync(ALL, i < end && index[i] == row);
}

template <typename T, typename I, int N>
__global__ void sum_chunks(const T* g, const I* index, Wide<T>* parts, unsigned* bits, int count, int width,
                           int words, I skipped) {
    using A = Wide<T>;
    const int me = blockIdx.x, chunk = me / CHUNK, begin = chunk * CHUNK, end = min(count, begin + CHUNK);
    const I row = index[me];
    if (row == skipped) return;
    for (int from = begin; from < me; from += 32)
        if (occurrences(index, row, from, me)) return;  // another block is the first
    if (threadIdx.x == 0) atomicOr(&bits[(size_t)row * words + chunk / 32], 1u << chunk % 32);
    for (int i = threadIdx.x / 32 * 32; i < width / N; i += blockDim.x) {  // a warp stays together
        const int p = i + threadIdx.x % 32;
        A sums[N] = {};
        for (int from = me; from < end; from += 32)
            for (unsigned left = occurrences(index, row, from, end); left; left &= left - 1) {
                if (p >= width / N) continue;
                const size_t place = (size_t)(from + __ffs(left) - 1) * width;
                const Pack<T, N> given = reinterpret_cast<const Pack<T, N>*>(g + place)[p];
                for (int k = 0; k < N; ++k) sums[k] += widen(given.at[k]);
            }
        if (p < width / N)
            for (int k = 0; k < N; ++k) parts[(size_t)me * width + p * N + k] = sums[k];
    }
}

// One block for each row of the table.
template <typename T, typename I, int N>
__global__ void add_chunks(const Wide<T>* parts, const I* index, const unsigned* bits, T* out, int count, int width,
                           int words) {
    using A = Wide<T>;
    const I row = blockIdx.x;
    for (int i = threadIdx.x / 32 * 32; i < width / N; i += blockDim.x) {
        const int p = i + threadIdx.x % 32;
        A sums[N] = {};
        for (int w = 0; w < words; ++w)
            for (unsigned left = bits[(size_t)row * words + w]; left; left &= left - 1) {
                int from = (w * 32 + __ffs(left) - 1) * CHUNK;
                unsigned found = 0;
                while (!(found = occurrences(index, row, from, count))) from += 32;
                const size_t place = (size_t)(from + __ffs(found) - 1) * width;
                if (p < width / N)
                    for (int k = 0; k < N; ++k) sums[k] += parts[place + p * N + k];
            }
        if (p < width / N) {
            Pack<T, N> results;
            for (int k = 0; k < N; ++k) results.at[k] = narrow<T>(sums[k]);
            reinterpret_cast<Pack<T, N>*>(out + (size_t)row * width)[p] = results;
        }
    }
}
