/* Products of float32 matrices, one answer on every processor (docs/arithmetic.md, "Products").
 *
 * Compiled once for each instruction set, which SUFFIX names. Every element of a product is a chain of fused
 * multiply-adds in the order of k, by itself: how vectors, tiles, blocks and threads cut the matrix is not in it.
 */

#include <stdint.h>
#include <string.h>

#include "kernels.h"
#include "threads.h"
#include "vectors.h"

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
/* Blocks that the first and second caches hold: a panel of DEPTH x COLUMNS, and rows of DEPTH x BLOCK. */
enum { DEPTH = 256, BLOCK = 12 * ROWS };
/* A product of fewer multiplications is over before another thread has woken. */
enum { WORTH_A_THREAD = 1 << 17 };

typedef float Vector __attribute__((vector_size(4 * LANES)));
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

#define DEFINE(count)                                                                                          \
    static void tile_of_##count(int64_t depth, const float *a, const float *b, float *result, int64_t stride,  \
                                int begins) {                                                                  \
        tile(count, depth, a, b, result, stride, begins);                                                      \
    }
ALL_ROWS(DEFINE)
#undef DEFINE

typedef void Tile(int64_t, const float *, const float *, float *, int64_t, int);
#define NAME(count) tile_of_##count,
static Tile *const TILES[] = {ALL_ROWS(NAME)};
#undef NAME

/* Floats that `pack` writes of a matrix of k rows and n columns. */
int64_t EXPORT(packed_floats)(int64_t k, int64_t n) { return (n + COLUMNS - 1) / COLUMNS * COLUMNS * k; }

/* Panels of COLUMNS columns, all k of each, with zeros beyond the last column. */
void EXPORT(pack)(int64_t k, int64_t n, const float *b, int64_t stride_k, int64_t stride_n, float *packed) {
    for (int64_t first = 0; first < n; first += COLUMNS) {
        const int64_t columns = least(COLUMNS, n - first);
        const float *from = b + first * stride_n;
        for (int64_t row = 0; row < k; row++, packed += COLUMNS, from += stride_k) {
            for (int64_t j = 0; j < columns; j++) packed[j] = from[j * stride_n];
            for (int64_t j = columns; j < COLUMNS; j++) packed[j] = 0;
        }
    }
}

typedef struct {
    int64_t m, n, k, stride_m, stride_k, stride_result;
    const float *a, *packed, *bias;
    float *result;
    int64_t blocks, panels_each;
    int accumulates;
} Product;

/* a[rows][depth], by strides, as strips of ROWS rows each of which has the rows of one k beside each other. */
static void strips(const Product *it, int64_t row, int64_t rows, int64_t k, int64_t depth, float *to) {
    for (int64_t first = 0; first < rows; first += ROWS) {
        const int64_t some = least(ROWS, rows - first);
        const float *from = it->a + (row + first) * it->stride_m + k * it->stride_k;
        if (it->stride_m == 1) /* a transposed matrix: what is read together is beside each other */
            for (int64_t j = 0; j < depth; j++)
                memcpy(to + j * some, from + j * it->stride_k, (size_t)some * sizeof *to);
        else
            for (int64_t i = 0; i < some; i++)
                for (int64_t j = 0; j < depth; j++) to[j * some + i] = from[i * it->stride_m + j * it->stride_k];
        to += some * depth;
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

static void part(void *context, int64_t number) {
    const Product *it = context;
    _Alignas(64) static _Thread_local float left[BLOCK * DEPTH];
    const int64_t row = number % it->blocks * BLOCK, rows = least(BLOCK, it->m - row);
    const int64_t begin = number / it->blocks * it->panels_each * COLUMNS;
    const int64_t end = least(it->n, begin + it->panels_each * COLUMNS);
    for (int64_t k = 0; k < it->k; k += DEPTH) {
        const int64_t depth = least(DEPTH, it->k - k);
        const int begins = k == 0 && !it->accumulates;
        strips(it, row, rows, k, depth, left);
        for (int64_t column = begin; column < end; column += COLUMNS) {
            const int64_t columns = least(COLUMNS, end - column);
            const float *right = it->packed + column * it->k + k * COLUMNS;
            for (int64_t first = 0; first < rows; first += ROWS) {
                const int64_t some = least(ROWS, rows - first);
                float *result = it->result + (row + first) * it->stride_result + column;
                const float *strip = left + first * depth;
                if (columns == COLUMNS)
                    TILES[some - 1](depth, strip, right, result, it->stride_result, begins);
                else
                    narrow(TILES[some - 1], some, columns, depth, strip, right, result, it->stride_result, begins);
            }
        }
    }
    for (int64_t i = row; i < row + rows; i++) {
        float *result = it->result + i * it->stride_result;
        if (it->k == 0 && !it->accumulates) memset(result + begin, 0, (size_t)(end - begin) * sizeof *result);
        if (it->bias) added(result, it->bias, begin, end);
    }
}

/* result[m][n] = a[m][k] b[k][n] (+ bias[n]), or goes on with what result holds; b as `pack` has it. */
void EXPORT(product)(int64_t m, int64_t n, int64_t k, const float *a, int64_t stride_m, int64_t stride_k,
                     const float *packed, const float *bias, float *result, int64_t stride_result, int accumulates,
                     int threads) {
    if (m == 0 || n == 0) return;
    const int64_t blocks = (m + BLOCK - 1) / BLOCK, panels = (n + COLUMNS - 1) / COLUMNS;
    if (m * n * k < WORTH_A_THREAD) threads = 1;
    /* Several parts a thread, so that one which is interrupted keeps nobody waiting for long. */
    int64_t across = (4 * threads + blocks - 1) / blocks;
    across = threads == 1 ? 1 : least(across, panels);
    const int64_t each = (panels + across - 1) / across;
    Product product = {m, n, k, stride_m, stride_k, stride_result, a, packed, bias, result, blocks, each, accumulates};
    retort_in_parts(part, &product, blocks * ((panels + each - 1) / each), threads);
}
