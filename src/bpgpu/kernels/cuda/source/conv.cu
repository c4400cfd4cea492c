// What convolution needs beside matrix products: the windows of an array as the rows of a matrix (im2col), and rows
// added up where their windows were (col2im). Arrays are (N, D, H, W, C) in memory, the channels of a place side by
// side, as one, two or three spatial axes with ones in front. The matrix is (groups, rows, places of the kernel,
// channels of a group); a row is a position of the kernel.
struct Line {
    int size, kernel, stride, dilation, pad, number;
};

struct Windows {
    Line lines[3];
    int channels, groups;  // channels of a place, in units of what is copied at once
};

// Each line of threads copies the windows of one row, for one group. U is some bytes, of whatever type the numbers are.
template <typename U>
__global__ void window_rows(const U* x, U* out, long long first, int rows, Windows w) {
    const int r = blockIdx.x * blockDim.y + threadIdx.y;
    if (r >= rows) return;
    const Line &da = w.lines[0], &db = w.lines[1], &dc = w.lines[2];
    const int inner = w.channels / w.groups, places = da.kernel * db.kernel * dc.kernel;
    long long at = first + r;
    const int c = at % dc.number * dc.stride - dc.pad;
    at /= dc.number;
    const int b = at % db.number * db.stride - db.pad;
    at /= db.number;
    const int a = at % da.number * da.stride - da.pad;
    const long long n = at / da.number;
    x += blockIdx.y * inner;
    out += ((long long)blockIdx.y * rows + r) * places * inner;
    for (int i = threadIdx.x; i < places * inner; i += blockDim.x) {
        int k = i / inner;
        const int channel = i - k * inner;
        const int z = c + k % dc.kernel * dc.dilation;
        k /= dc.kernel;
        const int y = b + k % db.kernel * db.dilation, p = a + k / db.kernel * da.dilation;
        U v = {};
        if (p >= 0 && p < da.size && y >= 0 && y < db.size && z >= 0 && z < dc.size)
            v = x[(((n * da.size + p) * db.size + y) * dc.size + z) * w.channels + channel];
        out[i] = v;
    }
}

// Each thread sums, for one number of the array, what the windows have that it is in: always in the same order.
template <typename T>
__global__ void added_windows(const T* matrix, T* x, long long size, long long rows, Windows w) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const Line &da = w.lines[0], &db = w.lines[1], &dc = w.lines[2];
    const int inner = w.channels / w.groups, places = da.kernel * db.kernel * dc.kernel;
    long long at = i;
    const int channel = at % w.channels;
    at /= w.channels;
    const int c = at % dc.size + dc.pad;
    at /= dc.size;
    const int b = at % db.size + db.pad;
    at /= db.size;
    const int a = at % da.size + da.pad;
    const long long n = at / da.size;
    const int group = channel / inner;
    matrix += (long long)group * rows * places * inner + (channel - group * inner);
    Wide<T> sum = 0;
    for (int p = 0; p < da.kernel; ++p) {
        const int la = a - p * da.dilation, ra = la / da.stride;
        if (la < 0 || la % da.stride || ra >= da.number) continue;
        for (int q = 0; q < db.kernel; ++q) {
            const int lb = b - q * db.dilation, rb = lb / db.stride;
            if (lb < 0 || lb % db.stride || rb >= db.number) continue;
            for (int r = 0; r < dc.kernel; ++r) {
                const int lc = c - r * dc.dilation, rc = lc / dc.stride;
                if (lc < 0 || lc % dc.stride || rc >= dc.number) continue;
                const long long row = ((n * da.number + ra) * db.number + rb) * dc.number + rc;
                const int place = (p * db.kernel + q) * dc.kernel + r;
                sum += widen(matrix[(row * places + place) * inner]);
            }
        }
    }
    x[i] = narrow<T>(sum);
}
