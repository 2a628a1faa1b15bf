/* Products of float32 matrices, one answer on every processor (docs/arithmetic.md, "Products" and "Products of
 * bfloat16").
 *
 * Compiled once for each instruction set, which SUFFIX names. Every element of a product is a chain of fused
 * multiply-adds in the order of k, by itself: how vectors, tiles, blocks and threads cut the matrix is not in it. Those
 * of numbers rounded to bfloat16 have the order and the rounding of x86's vdpbf16ps, which takes two k at a time, the
 * second first; where there is no such instruction, the same tiles run over the numbers in that order. */

#include <stdint.h>
#include <string.h>

#include "kernels.h"
#include "shards.h"
#include "threads.h"
#include "vectors.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

/* Rows and vectors of a tile of the result that registers hold, with what is multiplied beside it. */
#if defined(__AVX512F__)
enum { LANES = 16, ROWS = 14 };
#elif defined(__AVX2__) && defined(__FMA__)
enum { LANES = 8, ROWS = 6 };
#elif defined(__aarch64__)
enum { LANES = 4, ROWS = 8 };
#else
#error "no such instruction set"
#endif
enum { VECTORS = 2, COLUMNS = LANES * VECTORS };
/* Blocks that the second cache holds: a panel of DEPTH x COLUMNS, and rows of DEPTH x BLOCK. */
enum { DEPTH = 512, BLOCK = 12 * ROWS };
/* Columns of a part of a sum over shards: the sums that wait are to stay in the second cache. */
enum { WIDTH = 128 };
/* A product of fewer multiplications is over before another thread has woken. */
enum { WORTH_A_THREAD = 1 << 17 };

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Whole __attribute__((vector_size(4 * LANES)));
#define ALL_ROWS(one) one(1) one(2) one(3) one(4) one(5) one(6) MORE_ROWS(one)
#if defined(__AVX512F__)
#define MORE_ROWS(one) one(7) one(8) one(9) one(10) one(11) one(12) one(13) one(14)
#elif defined(__aarch64__)
#define MORE_ROWS(one) one(7) one(8)
#else
#define MORE_ROWS(one)
#endif

static inline Vector load(const float *from) {
    Vector to;
    memcpy(&to, from, sizeof to);
    return to;
}

static inline void store(float *to, Vector from) { memcpy(to, &from, sizeof from); }

/* result[rows][COLUMNS] goes on with a[depth][rows] and b[depth][COLUMNS]. */
static inline __attribute__((always_inline)) void tile(const int rows, int64_t depth, const float *restrict a,
                                                       const float *restrict b, float *restrict result,
                                                       int64_t stride, int begins) {
    Vector sums[ROWS][VECTORS];
    for (int row = 0; row < rows; row++)
        for (int v = 0; v < VECTORS; v++)
            sums[row][v] = begins ? (Vector){0} : load(result + row * stride + v * LANES);
    for (int64_t k = 0; k < depth; k++) {
        Vector right[VECTORS];
        for (int v = 0; v < VECTORS; v++) right[v] = load(b + k * COLUMNS + v * LANES);
#pragma clang loop unroll(full)
        for (int row = 0; row < rows; row++) {
            const float one = a[k * rows + row];
            /* Not by arithmetic: 0 * x + one is not always one. */
            Vector left;
#pragma clang loop unroll(full)
            for (int lane = 0; lane < LANES; lane++) left[lane] = one;
#pragma clang loop unroll(full)
            for (int v = 0; v < VECTORS; v++)
                sums[row][v] = __builtin_elementwise_fma(left, right[v], sums[row][v]);
        }
    }
    for (int row = 0; row < rows; row++)
        for (int v = 0; v < VECTORS; v++) store(result + row * stride + v * LANES, sums[row][v]);
}

#if defined(__AVX512BF16__)
/* As floats that each hold a pair. */
static inline __attribute__((always_inline)) void pairs(const int rows, int64_t depth, const float *restrict a,
                                                        const float *restrict b, float *restrict result,
                                                        int64_t stride, int begins) {
    __m512 sums[ROWS][VECTORS];
    for (int row = 0; row < rows; row++)
        for (int v = 0; v < VECTORS; v++)
            sums[row][v] = begins ? _mm512_setzero_ps() : _mm512_loadu_ps(result + row * stride + v * LANES);
    for (int64_t k = 0; k < depth; k++) {
        __m512bh right[VECTORS];
        for (int v = 0; v < VECTORS; v++) right[v] = (__m512bh)_mm512_loadu_ps(b + k * COLUMNS + v * LANES);
#pragma clang loop unroll(full)
        for (int row = 0; row < rows; row++) {
            const __m512bh left = (__m512bh)_mm512_set1_ps(a[k * rows + row]);
#pragma clang loop unroll(full)
            for (int v = 0; v < VECTORS; v++) sums[row][v] = _mm512_dpbf16_ps(sums[row][v], left, right[v]);
        }
    }
    for (int row = 0; row < rows; row++)
        for (int v = 0; v < VECTORS; v++) _mm512_storeu_ps(result + row * stride + v * LANES, sums[row][v]);
}
#elif defined(__aarch64__)
/* ARM would flush before rounding what x86 flushes after it: what is tiny is found by hand. */
static Vector flushed(Vector sum, float one, Vector right, Vector before) {
    const Whole size = (Whole)sum & 0x7fffffff, least_normal = (Whole){0} + 0x00800000;
    const Whole tiny = size < least_normal, edge = size == least_normal;
    int any = 0;
    for (int lane = 0; lane < LANES; lane++) any |= edge[lane];
    sum = (Vector)(((Whole)sum & ~tiny) | ((Whole)sum & tiny & (int32_t)0x80000000));
    for (int lane = 0; any && lane < LANES; lane++) {
        /* Exact enough: a product of two bfloat16 has 16 bits, and what is far below decides nothing. */
        const double exact = (double)one * right[lane] + before[lane];
        if (edge[lane] && __builtin_fabs(exact) < 0x1.ffffffp-127) sum[lane] = exact < 0 ? -0.0f : 0.0f;
    }
    return sum;
}

static void pairs(const int rows, int64_t depth, const float *restrict a, const float *restrict b,
                  float *restrict result, int64_t stride, int begins) {
    for (int row = 0; row < rows; row++)
        for (int v = 0; v < VECTORS; v++) {
            Vector sum = begins ? (Vector){0} : load(result + row * stride + v * LANES);
            for (int64_t k = 0; k < depth; k++) {
                const float one = a[k * rows + row];
                const Vector right = load(b + k * COLUMNS + v * LANES), before = sum;
                sum = flushed(__builtin_elementwise_fma((Vector){0} + one, right, before), one, right, before);
            }
            store(result + row * stride + v * LANES, sum);
        }
}
#else
#define pairs tile
#endif

#if defined(__AVX512BF16__)
enum { IN_ONE = 2 };
#else
enum { IN_ONE = 1 }; /* numbers that one float of a panel or strip of rounded numbers holds */
#endif

#define DEFINE(count)                                                                                          \
    static void tile_of_##count(int64_t depth, const float *a, const float *b, float *result, int64_t stride,  \
                                int begins) {                                                                  \
        tile(count, depth, a, b, result, stride, begins);                                                      \
    }                                                                                                          \
    static void pairs_of_##count(int64_t depth, const float *a, const float *b, float *result, int64_t stride, \
                                 int begins) {                                                                 \
        pairs(count, depth, a, b, result, stride, begins);                                                     \
    }
ALL_ROWS(DEFINE)
#undef DEFINE

typedef void Tile(int64_t, const float *, const float *, float *, int64_t, int);
#define NAME(count) tile_of_##count,
#define NAME_OF_PAIRS(count) pairs_of_##count,
static Tile *const TILES[][ROWS] = {{ALL_ROWS(NAME)}, {ALL_ROWS(NAME_OF_PAIRS)}};
#undef NAME
#undef NAME_OF_PAIRS

/* Whether results below the least normal number are flushed to zero; what is rounded has none of them. */
static void flush(int on) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(on ? 0x9f80 : 0x1f80);
#else
    (void)on;
#endif
}

/* The nearest bfloat16, ties to even, as a float; zero where that is below the least normal number. */
static inline float rounded(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t near = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    const uint32_t kept = (near & 0x7fffffff) < 0x00800000 ? near & 0x80000000 : near;
    bits = x == x ? kept : 0x7fc00000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Two of them in one float, the first in its lower half. */
static inline float pair(float first, float second) {
    uint32_t low, high;
    memcpy(&low, &first, sizeof low);
    memcpy(&high, &second, sizeof high);
    high = (high & 0xffff0000) | low >> 16;
    memcpy(&first, &high, sizeof first);
    return first;
}

/* Number j of a chain of k rounded numbers, in the order in which they are multiplied. */
static inline float in_order(const float *from, int64_t stride, int64_t j, int64_t k) {
    if (IN_ONE == 2) return pair(rounded(from[2 * j * stride]), 2 * j + 1 < k ? rounded(from[(2 * j + 1) * stride]) : 0);
    return (j ^ 1) < k ? rounded(from[(j ^ 1) * stride]) : 0;
}

/* Float j of `count` chains that lie beside each other. */
static void beside(const float *restrict from, int64_t stride, int64_t j, int64_t k, int64_t count,
                   float *restrict to) {
    const int64_t row = IN_ONE == 2 ? 2 * j : j ^ 1;
    const float *one = from + row * stride, *other = one + stride;
    if (row >= k)
        memset(to, 0, (size_t)count * sizeof *to);
    else if (IN_ONE == 1)
        for (int64_t i = 0; i < count; i++) to[i] = rounded(one[i]);
    else if (row + 1 < k)
        for (int64_t i = 0; i < count; i++) to[i] = pair(rounded(one[i]), rounded(other[i]));
    else
        for (int64_t i = 0; i < count; i++) to[i] = pair(rounded(one[i]), 0);
}

/* `count` floats of a chain from float `first` on, which is an even one. */
static void along(const float *restrict from, int64_t stride, int64_t first, int64_t count, int64_t k,
                  float *restrict to) {
    const int64_t whole = stride != 1 ? 0 : IN_ONE == 2 ? least(count, k / 2 - first) : least(count, k / 2 * 2 - first);
    if (IN_ONE == 2)
        for (int64_t j = 0; j < whole; j++)
            to[j] = pair(rounded(from[2 * (first + j)]), rounded(from[2 * (first + j) + 1]));
    else
        for (int64_t j = 0; j < whole; j += 2) {
            to[j] = rounded(from[first + j + 1]);
            to[j + 1] = rounded(from[first + j]);
        }
    for (int64_t j = whole; j < count; j++) to[j] = in_order(from, stride, first + j, k);
}

/* How many floats a chain of k numbers is. */
static inline int64_t floats_of(int64_t k, int is_rounded) { return is_rounded ? (k + 1) / 2 * (2 / IN_ONE) : k; }

/* Floats that `pack` writes of a matrix of k rows and n columns. */
int64_t EXPORT(packed_floats)(int64_t k, int64_t n, int is_rounded) {
    return (n + COLUMNS - 1) / COLUMNS * COLUMNS * floats_of(k, is_rounded);
}

typedef float Four __attribute__((vector_size(16)));

/* to[j][i] = from[i][j], of `rows` rows. */
static void turned(int64_t rows, int64_t depth, const float *restrict from, int64_t stride, float *restrict to) {
    int64_t i = 0;
    for (; i + 4 <= rows; i += 4) {
        const float *row = from + i * stride;
        int64_t j = 0;
        for (; j + 4 <= depth; j += 4) {
            Four a, b, c, d;
            memcpy(&a, row + j, sizeof a);
            memcpy(&b, row + stride + j, sizeof b);
            memcpy(&c, row + 2 * stride + j, sizeof c);
            memcpy(&d, row + 3 * stride + j, sizeof d);
            const Four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
            const Four AB = __builtin_shufflevector(a, b, 2, 6, 3, 7), CD = __builtin_shufflevector(c, d, 2, 6, 3, 7);
            const Four columns[] = {
                __builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7),
                __builtin_shufflevector(AB, CD, 0, 1, 4, 5), __builtin_shufflevector(AB, CD, 2, 3, 6, 7)};
            for (int one = 0; one < 4; one++) memcpy(to + (j + one) * rows + i, columns + one, sizeof(Four));
        }
        for (; j < depth; j++)
            for (int one = 0; one < 4; one++) to[j * rows + i + one] = row[one * stride + j];
    }
    for (; i < rows; i++)
        for (int64_t j = 0; j < depth; j++) to[j * rows + i] = from[i * stride + j];
}

typedef struct {
    int64_t k, n, stride_k, stride_n;
    const float *b;
    float *packed;
    int is_rounded;
} Matrix;

/* One panel of COLUMNS columns, all k of each, with zeros beyond the last column. */
static void panel(void *context, int64_t number) {
    const Matrix *it = context;
    const int64_t depth = floats_of(it->k, it->is_rounded), first = number * COLUMNS;
    const int64_t columns = least(COLUMNS, it->n - first);
    const float *from = it->b + first * it->stride_n;
    float *to = it->packed + first * depth;
    if (columns < COLUMNS) memset(to, 0, (size_t)(depth * COLUMNS) * sizeof *to);
    if (it->stride_n == 1) {
        for (int64_t row = 0; row < depth; row++)
            if (it->is_rounded)
                beside(from, it->stride_k, row, it->k, columns, to + row * COLUMNS);
            else if (columns == COLUMNS)
                memcpy(to + row * COLUMNS, from + row * it->stride_k, COLUMNS * sizeof *to);
            else
                memcpy(to + row * COLUMNS, from + row * it->stride_k, (size_t)columns * sizeof *to);
        return;
    }
    /* Few at a time, so that lines of the cache are whole before they leave it. */
    enum { SOME = 64 };
    for (int64_t row = 0; row < depth; row += SOME) {
        const int64_t count = least(SOME, depth - row);
        float chains[COLUMNS * SOME], *part = to + row * COLUMNS;
        for (int64_t j = 0; it->is_rounded && j < columns; j++)
            along(from + j * it->stride_n, it->stride_k, row, count, it->k, chains + j * SOME);
        const float *at = it->is_rounded ? chains : from + row * it->stride_k;
        const int64_t stride_n = it->is_rounded ? SOME : it->stride_n, stride_k = it->is_rounded ? 1 : it->stride_k;
        if (columns == COLUMNS && stride_k == 1) {
            turned(COLUMNS, count, at, stride_n, part);
            continue;
        }
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = 0; j < columns; j++) part[i * COLUMNS + j] = at[j * stride_n + i * stride_k];
    }
}

/* Copies a matrix of k rows and n columns, for products with it. */
void EXPORT(pack)(int64_t k, int64_t n, const float *b, int64_t stride_k, int64_t stride_n, int is_rounded,
                  float *packed, int threads) {
    Matrix matrix = {k, n, stride_k, stride_n, b, packed, is_rounded};
    if (k * n < WORTH_A_THREAD) threads = 1;
    retort_in_parts(panel, &matrix, (n + COLUMNS - 1) / COLUMNS, threads);
}

typedef struct {
    int64_t m, n, k, stride_m, stride_k, stride_result;
    const float *a, *packed, *bias;
    float *result;
    int64_t blocks, panels_each;
    int accumulates, is_rounded;
} Product;

/* a[rows][depth] from its k-th float on, by strides, as strips of ROWS rows each of which has the rows of one k beside
 * each other. */
static void strips(const Product *it, int64_t row, int64_t rows, int64_t k, int64_t depth, float *to) {
    for (int64_t first = 0; first < rows; first += ROWS) {
        const int64_t some = least(ROWS, rows - first);
        const float *from = it->a + (row + first) * it->stride_m, *at = from + k * it->stride_k;
        float chains[ROWS * DEPTH], *strip = to + first * depth;
        if (it->is_rounded && it->stride_m != 1) {
            for (int64_t i = 0; i < some; i++)
                along(from + i * it->stride_m, it->stride_k, k, depth, it->k, chains + i * depth);
            turned(some, depth, chains, depth, strip);
        } else if (!it->is_rounded && it->stride_m == 1) {
            /* A transposed matrix: what is read together is beside each other. */
            for (int64_t j = 0; j < depth; j++)
                memcpy(strip + j * some, at + j * it->stride_k, (size_t)some * sizeof *to);
        } else if (!it->is_rounded && it->stride_k == 1) {
            turned(some, depth, at, it->stride_m, strip);
        } else if (!it->is_rounded) {
            for (int64_t i = 0; i < some; i++)
                for (int64_t j = 0; j < depth; j++)
                    strip[j * some + i] = at[i * it->stride_m + j * it->stride_k];
        }
    }
    for (int64_t j = 0; it->is_rounded && it->stride_m == 1 && j < depth; j++) {
        float chain[BLOCK];
        beside(it->a + row, it->stride_k, k + j, it->k, rows, chain);
        for (int64_t first = 0; first < rows; first += ROWS) {
            const int64_t some = least(ROWS, rows - first);
            float *strip = to + first * depth + j * some;
            if (some == ROWS)
                memcpy(strip, chain + first, ROWS * sizeof *to);
            else
                memcpy(strip, chain + first, (size_t)some * sizeof *to);
        }
    }
}

static void narrow(Tile *tile, int64_t rows, int64_t columns, int64_t depth, const float *a, const float *b,
                   float *result, int64_t stride, int begins) {
    float whole[ROWS * COLUMNS] = {0};
    for (int64_t i = 0; i < rows && !begins; i++)
        memcpy(whole + i * COLUMNS, result + i * stride, (size_t)columns * sizeof *whole);
    tile(depth, a, b, whole, COLUMNS, begins);
    for (int64_t i = 0; i < rows; i++)
        memcpy(result + i * stride, whole + i * COLUMNS, (size_t)columns * sizeof *whole);
}

static void added(float *restrict result, const float *restrict bias, int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; j++) result[j] += bias[j];
}

/* result[rows][end - begin] = a[row...][k] b[k][begin...], or goes on with what result holds. */
static void multiplied(const Product *it, int64_t row, int64_t rows, int64_t begin, int64_t end, float *result,
                       int64_t stride) {
    _Alignas(64) static _Thread_local float left[BLOCK * DEPTH];
    const int64_t floats = floats_of(it->k, it->is_rounded);
    Tile *const *tiles = TILES[it->is_rounded];
    for (int64_t i = 0; it->k == 0 && !it->accumulates && i < rows; i++)
        memset(result + i * stride, 0, (size_t)(end - begin) * sizeof *result);
    flush(it->is_rounded);
    for (int64_t k = 0; k < floats; k += DEPTH) {
        const int64_t depth = least(DEPTH, floats - k);
        const int begins = k == 0 && !it->accumulates;
        strips(it, row, rows, k, depth, left);
        for (int64_t column = begin; column < end; column += COLUMNS) {
            const int64_t columns = least(COLUMNS, end - column);
            const float *right = it->packed + column * floats + k * COLUMNS;
            for (int64_t first = 0; first < rows; first += ROWS) {
                const int64_t some = least(ROWS, rows - first);
                float *to = result + first * stride + column - begin;
                const float *strip = left + first * depth;
                if (columns == COLUMNS)
                    tiles[some - 1](depth, strip, right, to, stride, begins);
                else
                    narrow(tiles[some - 1], some, columns, depth, strip, right, to, stride, begins);
            }
        }
    }
    flush(0);
}

static void part(void *context, int64_t number) {
    const Product *it = context;
    const int64_t row = number % it->blocks * BLOCK, rows = least(BLOCK, it->m - row);
    const int64_t begin = number / it->blocks * it->panels_each * COLUMNS;
    const int64_t end = least(it->n, begin + it->panels_each * COLUMNS);
    float *result = it->result + row * it->stride_result;
    multiplied(it, row, rows, begin, end, result + begin, it->stride_result);
    for (int64_t i = 0; it->bias && i < rows; i++) added(result + i * it->stride_result, it->bias, begin, end);
}

/* result[m][n] = a[m][k] b[k][n] (+ bias[n]), or goes on with what result holds; b as `pack` has it. */
void EXPORT(product)(int64_t m, int64_t n, int64_t k, const float *a, int64_t stride_m, int64_t stride_k,
                     const float *packed, const float *bias, float *result, int64_t stride_result, int accumulates,
                     int is_rounded, int threads) {
    if (m == 0 || n == 0) return;
    const int64_t blocks = (m + BLOCK - 1) / BLOCK, panels = (n + COLUMNS - 1) / COLUMNS;
    if (m * n * k < WORTH_A_THREAD) threads = 1;
    /* Several parts a thread, so that one which is interrupted keeps nobody waiting for long. */
    int64_t across = (4 * threads + blocks - 1) / blocks;
    across = threads == 1 ? 1 : least(across, panels);
    const int64_t each = (panels + across - 1) / across;
    Product product = {m, n, k, stride_m, stride_k, stride_result, a, packed, bias, result, blocks, each, accumulates,
                       is_rounded};
    retort_in_parts(part, &product, blocks * ((panels + each - 1) / each), threads);
}

typedef struct {
    Product product;
    int64_t shards;
    const int64_t *starts;
} Sum;

static void part_of_sum(void *context, int64_t number) {
    const Sum *it = context;
    _Alignas(64) static _Thread_local float waiting[WAITING - 1][BLOCK * WIDTH];
    Product one = it->product;
    const int64_t row = number % one.blocks * BLOCK, rows = least(BLOCK, one.m - row);
    const int64_t begin = number / one.blocks * WIDTH, columns = least(WIDTH, one.n - begin);
    const int64_t padded = (one.n + COLUMNS - 1) / COLUMNS * COLUMNS;
    /* The one that is lowest on the stack becomes the result. */
    float *sums[WAITING] = {one.result + row * one.stride_result + begin};
    int64_t strides[WAITING] = {one.stride_result}, count = 0;
    for (int64_t place = 1; place < WAITING; place++) sums[place] = waiting[place - 1], strides[place] = WIDTH;
    for (int64_t shard = 0; shard < it->shards; shard++) {
        one.k = it->starts[shard + 1] - it->starts[shard];
        one.a = it->product.a + it->starts[shard] * one.stride_k;
        multiplied(&one, row, rows, begin, begin + columns, sums[count], strides[count]);
        one.packed += padded * floats_of(one.k, one.is_rounded);
        count++;
        for (int64_t left = additions(shard, it->shards, count); left > 0; left--, count--)
            for (int64_t i = 0; i < rows; i++)
                added(sums[count - 2] + i * strides[count - 2], sums[count - 1] + i * WIDTH, 0, columns);
    }
}

/* result[m][n] = the products of each shard's columns of a and rows of b, added along the canonical tree. A shard's k
 * begin at its start; `packed` has the rows of one shard after those of another, each as `pack` has them. */
void EXPORT(sum_of_products)(int64_t m, int64_t n, int64_t shards, const int64_t *starts, const float *a,
                             int64_t stride_m, int64_t stride_k, const float *packed, float *result,
                             int64_t stride_result, int is_rounded, int threads) {
    if (m == 0 || n == 0) return;
    const int64_t blocks = (m + BLOCK - 1) / BLOCK;
    if (m * n * (starts[shards] - starts[0]) < WORTH_A_THREAD) threads = 1;
    Sum sum = {{.m = m, .n = n, .stride_m = stride_m, .stride_k = stride_k, .stride_result = stride_result, .a = a,
                .packed = packed, .result = result, .blocks = blocks, .is_rounded = is_rounded},
               shards, starts};
    retort_in_parts(part_of_sum, &sum, blocks * ((n + WIDTH - 1) / WIDTH), threads);
}
