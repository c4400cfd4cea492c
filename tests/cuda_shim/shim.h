// CUDA's threads on the CPU: each is a fiber; those of a block take turns, and change at barriers and exchanges of a warp.
#pragma once
#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>
#include <ucontext.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)
using std::sqrt; using std::exp; using std::log; using std::tanh; using std::erf; using std::min; using std::max;

struct __half { _Float16 v; };
inline float __half2float(__half x) { return (float)x.v; }
inline __half __float2half_rn(float x) { return {(_Float16)x}; }
struct __nv_bfloat16 { uint16_t v; };
inline float __bfloat162float(__nv_bfloat16 x) { uint32_t b = (uint32_t)x.v << 16; float f; memcpy(&f, &b, 4); return f; }
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    uint32_t b; memcpy(&b, &x, 4);
    if (x != x) return {0x7fff};
    b += 0x7fff + (b >> 16 & 1);
    return {(uint16_t)(b >> 16)};
}

struct dim3 { unsigned x = 1, y = 1, z = 1; };
namespace shim {
struct Barrier { int waiting = 0; unsigned generation = 0; };
struct Fiber { ucontext_t start; jmp_buf place; bool begun, done; int warp, lane; dim3 thread; };
struct State {
    std::vector<Fiber> fibers; std::vector<char> stacks; Fiber* now; jmp_buf scheduler; ucontext_t main;
    dim3 grid, block, index; Barrier all; std::vector<Barrier> warps; std::vector<int> alive; int left; bool moved;
    std::vector<uint64_t> exchange; std::function<void()> body;
};
inline State s;

// CUDA promises no order of blocks, nor of threads between barriers. SHIM_ORDER chooses one: "0" forwards, "1"
// backwards, another number: shuffled.
inline std::vector<int> order_of(int n, int order) {
    std::vector<int> numbers(n);
    for (int i = 0; i < n; ++i) numbers[i] = order == 1 ? n - 1 - i : i;
    unsigned long long seed = order;
    for (int i = n - 1; i > 0 && order > 1; --i) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        std::swap(numbers[i], numbers[(seed >> 33) % (i + 1)]);
    }
    return numbers;
}
constexpr size_t STACK = 64 * 1024;
inline void yield() { if (!_setjmp(s.now->place)) _longjmp(s.scheduler, 1); }
inline void wait(Barrier& b, int& expected) {
    const unsigned mine = b.generation;
    if (++b.waiting == expected) { b.waiting = 0; ++b.generation; s.moved = true; return; }
    while (b.generation == mine) yield();
}
inline void entry() {
    s.body();
    Fiber* f = s.now;
    f->done = true; s.moved = true;
    if (s.all.waiting == --s.left && s.left) { s.all.waiting = 0; ++s.all.generation; }
    Barrier& w = s.warps[f->warp];
    if (w.waiting == --s.alive[f->warp] && w.waiting) { w.waiting = 0; ++w.generation; }
    _longjmp(s.scheduler, 1);
}
inline void resume(int i) {
    Fiber& f = s.fibers[i];
    if (f.done) return;
    s.now = &f;
    if (_setjmp(s.scheduler)) return;
    if (f.begun) _longjmp(f.place, 1);
    f.begun = s.moved = true;
    getcontext(&f.start);
    f.start.uc_stack.ss_sp = s.stacks.data() + i * STACK;
    f.start.uc_stack.ss_size = STACK;
    f.start.uc_link = nullptr;
    makecontext(&f.start, entry, 0);
    setcontext(&f.start);
}
inline int launch(dim3 grid, dim3 block, std::function<void()> body) {
    const int n = block.x * block.y * block.z, warps = (n + 31) / 32;
    s.grid = grid; s.block = block; s.body = body;
    s.fibers.resize(n); s.stacks.resize(n * STACK); s.exchange.assign(warps * 32, 0);
    const char* chosen = getenv("SHIM_ORDER");
    const int order = chosen ? atoi(chosen) : 0;
    const std::vector<int> lanes = order_of(32, order);
    for (const int b : order_of(grid.x * grid.y * grid.z, order)) {
        s.index = {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)}; s.all = {}; s.warps.assign(warps, {}); s.alive.assign(warps, 32); s.left = n;
        if (n % 32) s.alive[warps - 1] = n % 32;
        for (int i = 0; i < n; ++i) {
            Fiber& f = s.fibers[i];
            f.begun = f.done = false; f.warp = i / 32; f.lane = i % 32;
            f.thread = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
        }
        while (s.left) {
            bool moved = false;
            for (const int w : order_of(warps, order))  // a warp runs on until it waits for another
                do {
                    s.moved = false;
                    for (const int lane : lanes)
                        if (w * 32 + lane < n) resume(w * 32 + lane);
                    moved |= s.moved;
                } while (s.moved);
            if (!moved && s.left) return 1;  // threads of a block wait for each other at different places
        }
    }
    return 0;
}
template <typename T> T exchanged(T v, int from) {
    Fiber& f = *s.now;
    uint64_t* row = &s.exchange[f.warp * 32];
    memcpy(&row[f.lane], &v, sizeof v);
    wait(s.warps[f.warp], s.alive[f.warp]);
    memcpy(&v, &row[from], sizeof v);
    wait(s.warps[f.warp], s.alive[f.warp]);
    return v;
}
template <typename... A, size_t... I>
int call(void (*f)(A...), dim3 grid, dim3 block, void** args, std::index_sequence<I...>) {
    return launch(grid, block, [=] { f(*(std::remove_const_t<A>*)args[I]...); });
}
template <typename... A> int run(void (*f)(A...), const unsigned* g, const unsigned* b, void** args) {
    return call(f, {g[0], g[1], g[2]}, {b[0], b[1], b[2]}, args, std::index_sequence_for<A...>());
}
}
#define threadIdx (shim::s.now->thread)
#define blockIdx (shim::s.index)
#define blockDim (shim::s.block)
#define gridDim (shim::s.grid)
inline void __syncthreads() { shim::wait(shim::s.all, shim::s.left); }
template <typename T> T __shfl_xor_sync(unsigned, T v, int mask) { return shim::exchanged(v, shim::s.now->lane ^ mask); }
inline unsigned __ballot_sync(unsigned, bool p) {
    unsigned bits = 0;
    shim::Fiber& f = *shim::s.now;
    shim::s.exchange[f.warp * 32 + f.lane] = p;
    shim::wait(shim::s.warps[f.warp], shim::s.alive[f.warp]);
    for (int i = 0; i < 32; ++i) bits |= (unsigned)(shim::s.exchange[f.warp * 32 + i] & 1) << i;
    shim::wait(shim::s.warps[f.warp], shim::s.alive[f.warp]);
    return bits;
}
inline float __int_as_float(int x) { float f; memcpy(&f, &x, 4); return f; }
inline int __ffs(unsigned x) { return __builtin_ffs(x); }
inline unsigned atomicOr(unsigned* p, unsigned v) { unsigned old = *p; *p |= v; return old; }
