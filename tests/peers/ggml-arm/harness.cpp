// ggml's integer kernels for ARM, one at a time on operands of its own layouts: what ggml-arm.py counts the instructions of.
//
// harness                    lists the kernels: name, units of work of a call, calls to count
// harness TABLE NAME CALLS   calls one as often
// harness check              compares a sample of every kernel's results with a plain loop
//
// Built once per instruction set; each build holds what ggml takes there (tensor_traits in its repack.cpp): weights
// repacked by fours where the processor has dot products or matrix products, dot products of rows where it has neither.
#include "quants.h"
#include "repack.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#if defined(__ARM_FEATURE_MATMUL_INT8)
#define REPACKED 8
#define PICK(name) name##4x8_q8_0
#define PICK_QUANTIZE ggml_quantize_mat_q8_0_4x8
#elif defined(__ARM_FEATURE_DOTPROD)
#define REPACKED 4
#define PICK(name) name##4x4_q8_0
#define PICK_QUANTIZE ggml_quantize_mat_q8_0_4x4
#endif

namespace {

constexpr int BLOCK = 32;

struct Shape {
    const char * name;
    bool q4;
    int rows, k, columns;
};

const Shape SHAPES[] = {
    {"gemm q4, 1024 rows of 2048, 264 columns", true, 1024, 2048, 264},
    {"gemm q8, 1024 rows of 2048, 264 columns", false, 1024, 2048, 264},
    {"gemm q4, 1152 rows of 1152, 256 columns", true, 1152, 1152, 256},
    {"gemm q8, 1152 rows of 1152, 256 columns", false, 1152, 1152, 256},
    {"gemm q4, 2048 rows of 2048, 1 column", true, 2048, 2048, 1},
    {"gemm q8, 2048 rows of 2048, 1 column", false, 2048, 2048, 1},
    {"gemm q4, 512 rows of 16384, 1 column", true, 512, 16384, 1},
    {"gemm q8, 512 rows of 16384, 1 column", false, 512, 16384, 1},
};

constexpr int VALUES = 2048;
const char * const QUANTIZE_ROW = "quantize 2048 for q8";
const char * const QUANTIZE_ROWS = "quantize 4 rows of 2048";

struct Random {
    unsigned state;
    unsigned next() { return (state = state * 1664525u + 1013904223u) >> 8; }
    float unit() { return float(next()) / float(1 << 23) - 1; }
};

ggml_half half_of(float x) {
    __fp16 h = __fp16(x);
    ggml_half bits;
    memcpy(&bits, &h, sizeof bits);
    return bits;
}

float float_of(ggml_half bits) {
    __fp16 h;
    memcpy(&h, &bits, sizeof h);
    return float(h);
}

std::vector<float> floats(size_t n, unsigned seed) {
    Random random{seed};
    std::vector<float> x(n);
    for (float & v : x) v = random.unit();
    return x;
}

// Weights of any bits and scales between 1/64 and 1/32, in rows of blocks.
template <typename Block> std::vector<Block> weights(size_t blocks) {
    Random random{7};
    std::vector<Block> w(blocks);
    for (Block & b : w) {
        b.d = half_of((3 + random.unit()) / 128);
        for (auto & q : b.qs) q = random.next();
    }
    return w;
}

int weight(const block_q4_0 & b, int i) { return (i < 16 ? b.qs[i] & 15 : b.qs[i - 16] >> 4) - 8; }
int weight(const block_q8_0 & b, int i) { return b.qs[i]; }

#ifdef REPACKED
// Four rows side by side in pieces of REPACKED bytes; ggml stores signed nibbles then.
template <typename Block, typename Four, int FLIP> std::vector<char> repacked(const std::vector<Block> & w, int rows, int blocks) {
    std::vector<Four> out(w.size() / 4);
    for (int r = 0; r < rows; r += 4)
        for (int b = 0; b < blocks; b++)
            for (int i = 0; i < 4; i++) {
                const Block & from = w[size_t(r + i) * blocks + b];
                Four & to = out[size_t(r / 4) * blocks + b];
                to.d[i] = from.d;
                for (int j = 0; j < int(sizeof from.qs); j++)
                    to.qs[(j / REPACKED * 4 + i) * REPACKED + j % REPACKED] = from.qs[j] ^ FLIP;
            }
    const char * bytes = reinterpret_cast<const char *>(out.data());
    return {bytes, bytes + out.size() * sizeof(Four)};
}
#endif

// Weights and quantized activations as the kernel takes them, and room for what it gives.
struct Operands {
    const Shape & shape;
    std::vector<float> x, out;
    std::vector<block_q4_0> w4;
    std::vector<block_q8_0> w8;
    std::vector<char> w;
    std::vector<block_q8_0> q;

    explicit Operands(const Shape & s) : shape(s), x(floats(size_t(s.columns) * s.k, 1)), out(size_t(s.columns) * s.rows) {
        const int blocks = s.k / BLOCK;
        if (s.q4) w4 = weights<block_q4_0>(size_t(s.rows) * blocks);
        else w8 = weights<block_q8_0>(size_t(s.rows) * blocks);
        q.resize(size_t(s.columns) * blocks);
        int t = 0;
#ifdef REPACKED
        w = s.q4 ? repacked<block_q4_0, block_q4_0x4, 0x88>(w4, s.rows, blocks) : repacked<block_q8_0, block_q8_0x4, 0>(w8, s.rows, blocks);
        static_assert(sizeof(block_q8_0x4) == 4 * sizeof(block_q8_0), "four rows take four rows' room");
        for (; t + 4 <= s.columns; t += 4) PICK_QUANTIZE(&x[size_t(t) * s.k], &q[size_t(t) * blocks], s.k);
#endif
        for (; t < s.columns; t++) quantize_row_q8_0(&x[size_t(t) * s.k], &q[size_t(t) * blocks], s.k);
    }

    void multiply() {
        const Shape & s = shape;
        const int blocks = s.k / BLOCK;
#ifdef REPACKED
        auto f = s.columns == 1 ? (s.q4 ? PICK(ggml_gemv_q4_0_) : PICK(ggml_gemv_q8_0_))
                                : (s.q4 ? PICK(ggml_gemm_q4_0_) : PICK(ggml_gemm_q8_0_));
        f(s.k, out.data(), s.rows, w.data(), q.data(), s.columns, s.rows);
        (void)blocks;
#else
        for (int t = 0; t < s.columns; t++)
            for (int r = 0; r < s.rows; r++) {
                float * to = &out[size_t(t) * s.rows + r];
                const block_q8_0 * column = &q[size_t(t) * blocks];
                if (s.q4) ggml_vec_dot_q4_0_q8_0(s.k, to, 0, &w4[size_t(r) * blocks], 0, column, 0, 1);
                else ggml_vec_dot_q8_0_q8_0(s.k, to, 0, &w8[size_t(r) * blocks], 0, column, 0, 1);
            }
#endif
    }

    // What the product must be, by its definition; `size` is how large its terms are together.
    double expected(int t, int r, double & size) const {
        const int blocks = shape.k / BLOCK;
        double sum = 0, squares = 0;
        for (int b = 0; b < blocks; b++) {
            const float * v = &x[size_t(t) * shape.k + size_t(b) * BLOCK];
            float most = 0;
            for (int i = 0; i < BLOCK; i++) most = std::fmax(most, std::fabs(v[i]));
            const float d = most / 127;
            const double scale = float_of(half_of(d));
            const size_t at = size_t(r) * blocks + b;
            const double factor = scale * float_of(shape.q4 ? w4[at].d : w8[at].d);
            for (int i = 0; i < BLOCK; i++) {
                const double term = factor * std::round(v[i] / d) * (shape.q4 ? weight(w4[at], i) : weight(w8[at], i));
                sum += term;
                squares += term * term;
            }
        }
        size = std::sqrt(squares);
        return sum;
    }
};

bool check(const Shape & shape) {
    Operands o(shape);
    o.multiply();
    double worst = 0;
    for (size_t i = 0; i < o.out.size(); i += 1 + o.out.size() / 257) {
        double size;
        const double right = o.expected(int(i / shape.rows), int(i % shape.rows), size);
        worst = std::fmax(worst, std::fabs(o.out[i] - right) / size);
    }
    // A value half-way between two integers may be rounded the other way: one such among 1152 shifts the sum by 1e-4.
    const bool good = worst < 1e-3;
    printf("%s\t%.1e%s\n", shape.name, worst, good ? "" : "\twrong");
    return good;
}

}  // namespace

int main(int n, char ** arguments) {
    const std::string first = n > 1 ? arguments[1] : "";
    if (first == "check") {
        bool good = true;
        for (const Shape & s : SHAPES) good &= check(s);
        return good ? 0 : 1;
    }
    if (n != 4) {
        for (const Shape & s : SHAPES) printf("%s\t%lld\t1\n", s.name, (long long)s.rows * s.k * s.columns);
        printf("%s\t%d\t100\n", QUANTIZE_ROW, VALUES);
#ifdef REPACKED
        printf("%s\t%d\t100\n", QUANTIZE_ROWS, 4 * VALUES);
#endif
        return 0;
    }
    const std::string name = arguments[2];
    const int calls = atoi(arguments[3]);
    for (const Shape & s : SHAPES) {
        if (name != s.name) continue;
        Operands o(s);
        for (int i = 0; i < calls; i++) o.multiply();
        return 0;
    }
    const std::vector<float> x = floats(4 * VALUES, 1);
    std::vector<block_q8_0> q(4 * VALUES / BLOCK);
    for (int i = 0; i < calls; i++) {
        if (name == QUANTIZE_ROW) quantize_row_q8_0(x.data(), q.data(), VALUES);
#ifdef REPACKED
        else if (name == QUANTIZE_ROWS) PICK_QUANTIZE(x.data(), q.data(), VALUES);
#endif
        else return 2;
    }
    return 0;
}
