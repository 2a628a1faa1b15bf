/* Products of matrices whose numbers are levels from -127 to 127, each row with a scale (docs/arithmetic.md, "Products
 * of int8").
 *
 * Sums of levels are whole numbers, so any order of adding them gives the same bits; what is rounded is each number of
 * a row, once, and each result. A row's levels are a function of that row alone. */

#include <stdint.h>
#include <string.h>

#include "kernels.h"
#include "threads.h"
#include "vectors.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* Rows and vectors of a tile of the result that registers hold, with what is multiplied beside it. */
#if defined(__AVX512VNNI__)
enum { LANES = 16, ROWS = 14 };
#elif defined(__AVX512F__)
enum { LANES = 16, ROWS = 10 };
#elif defined(__AVX2__)
enum { LANES = 8, ROWS = 4 };
#elif defined(__aarch64__)
enum { LANES = 4, ROWS = 8 };
#else
#error "no such instruction set"
#endif
/* As many levels of a row are multiplied at a time: an instruction's, and the width of its sum. */
enum { TOGETHER = 4 };
enum { VECTORS = 2, COLUMNS = LANES * VECTORS };
/* Rows whose levels the second cache holds beside a panel. */
enum { BLOCK = 8 * ROWS };
enum { HIGHEST = 127 };
/* As in products.c, of multiplications that take a quarter of the time. */
enum { WORTH_A_THREAD = 1 << 19 };
enum { ROWS_OF_A_PART = 32 };

/* The bits of 2^-100: rows of nothing greater are zeros, since 127 divided by less could be infinite. */
enum { LEAST = 0x0d800000, NOT_FINITE = 0x7f800000 };

typedef int8_t Levels __attribute__((vector_size(PARTIAL)));

typedef struct {
    int64_t m, k, stride, stride_levels;
    const float *x;
    int8_t *levels;
    float *scales;
} Rows;

static float scale_of(const float *x, int64_t k) {
    Integers highest = {0};
    for (int64_t j = 0; j < k; j += PARTIAL) {
        const Integers size = as_integers(load_some(x + j, k - j)) & 0x7fffffff;
        highest = __builtin_elementwise_max(highest, size);
    }
    const int32_t bits = __builtin_reduce_max(highest);
    float of_all;
    memcpy(&of_all, &bits, sizeof of_all);
    /* Of whole numbers, a NaN is the highest. */
    return bits >= NOT_FINITE ? __builtin_nanf("") : bits < LEAST ? 0 : of_all;
}

static void quantize(void *context, int64_t number) {
    const Rows *it = context;
    const int64_t end = least(it->m, (number + 1) * ROWS_OF_A_PART);
    for (int64_t row = number * ROWS_OF_A_PART; row < end; row++) {
        const float *x = it->x + row * it->stride, highest = scale_of(x, it->k);
        int8_t *levels = it->levels + row * it->stride_levels;
        it->scales[row] = highest / HIGHEST;
        memset(levels, 0, (size_t)it->stride_levels);
        if (!(highest > 0)) continue;
        const Partial by = all(HIGHEST / highest);
        for (int64_t j = 0; j < it->k; j += PARTIAL) {
            const Partial near = __builtin_elementwise_roundeven(load_some(x + j, it->k - j) * by);
            const Levels of_row = __builtin_convertvector(__builtin_convertvector(near, Integers), Levels);
            memcpy(levels + j, &of_row, (size_t)least(PARTIAL, it->k - j));
        }
    }
}

/* levels[m][k] and scales[m] of x[m][k], with zeros from k to stride_levels: x is nearly levels * scales, and as far
 * from it as half a scale. A row that is not finite has the scale NaN and the levels 0. */
void EXPORT(quantize)(int64_t m, int64_t k, const float *x, int64_t stride, int8_t *levels, int64_t stride_levels,
                      float *scales, int threads) {
    Rows rows = {m, k, stride, stride_levels, x, levels, scales};
    if (m * k < WORTH_A_THREAD / 64) threads = 1;
    retort_in_parts(quantize, &rows, (m + ROWS_OF_A_PART - 1) / ROWS_OF_A_PART, threads);
}

static inline int64_t groups_of(int64_t k) { return (k + TOGETHER - 1) / TOGETHER; }

/* Bytes that `pack_quantized` writes of n rows of k levels. */
int64_t EXPORT(packed_bytes)(int64_t k, int64_t n) {
    return (n + COLUMNS - 1) / COLUMNS * COLUMNS * TOGETHER * groups_of(k);
}

typedef struct {
    int64_t k, n, stride;
    const int8_t *levels;
    uint8_t *packed;
} Weights;

/* VNNI multiplies numbers without a sign by those with one: weights are 128 more than they are. */
#if defined(__AVX512VNNI__)
enum { MORE = 128 };
#else
enum { MORE = 0 };
#endif

/* One panel of COLUMNS rows of weights: TOGETHER levels of each, then the next of each, with zeros beyond the end. */
static void panel(void *context, int64_t number) {
    const Weights *it = context;
    const int64_t groups = groups_of(it->k), first = number * COLUMNS, size = COLUMNS * TOGETHER;
    uint8_t *to = it->packed + first * TOGETHER * groups;
    memset(to, MORE, (size_t)(groups * size));
    for (int64_t column = 0; column < least(COLUMNS, it->n - first); column++) {
        const int8_t *from = it->levels + (first + column) * it->stride;
        for (int64_t j = 0; j < it->k; j++)
            to[j / TOGETHER * size + column * TOGETHER + j % TOGETHER] = (uint8_t)(from[j] + MORE);
    }
}

/* packed = levels[n][k] in the order in which products read them. */
void EXPORT(pack_quantized)(int64_t k, int64_t n, const int8_t *levels, int64_t stride, uint8_t *packed, int threads) {
    Weights weights = {k, n, stride, levels, packed};
    retort_in_parts(panel, &weights, (n + COLUMNS - 1) / COLUMNS, threads);
}

typedef int32_t Sums __attribute__((vector_size(4 * LANES)));
typedef float Results __attribute__((vector_size(4 * LANES)));

typedef struct {
    int64_t m, n, groups, stride;
    const int8_t *left;
    const float *scales;
    const uint8_t *packed;
    const float *by, *bias;
    float *result;
    int64_t blocks, panels_each;
} Product;

/* Four levels of one row beside each column's four. */
static inline __attribute__((always_inline)) int32_t four(const int8_t *from) {
    int32_t to;
    memcpy(&to, from, sizeof to);
    return to;
}

/* sums += the products of a tile's rows and columns. No product of levels, and no sum of two of them, is beyond what 16
 * bits with a sign hold, so none of these instructions cuts anything off. */
static inline __attribute__((always_inline)) void multiplied(const int rows, int64_t groups, const int8_t *left,
                                                             int64_t stride, const uint8_t *right,
                                                             Sums sums[ROWS][VECTORS]) {
    for (int row = 0; row < rows; row++)
        for (int v = 0; v < VECTORS; v++) sums[row][v] = (Sums){0};
#if defined(__AVX512VNNI__)
    for (int64_t group = 0; group < groups; group++) {
        __m512i weights[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            weights[v] = _mm512_loadu_si512(right + (group * COLUMNS + v * LANES) * TOGETHER);
#pragma clang loop unroll(full)
        for (int row = 0; row < rows; row++) {
            const __m512i levels = _mm512_set1_epi32(four(left + row * stride + group * TOGETHER));
#pragma clang loop unroll(full)
            for (int v = 0; v < VECTORS; v++)
                sums[row][v] = (Sums)_mm512_dpbusd_epi32((__m512i)sums[row][v], weights[v], levels);
        }
    }
#elif defined(__AVX512F__)
    const __m512i ones = _mm512_set1_epi16(1);
    for (int64_t group = 0; group < groups; group++) {
        __m512i sizes[VECTORS];
        __mmask64 negative[VECTORS];
        for (int v = 0; v < VECTORS; v++) {
            const __m512i weights = _mm512_loadu_si512(right + (group * COLUMNS + v * LANES) * TOGETHER);
            sizes[v] = _mm512_abs_epi8(weights);
            negative[v] = _mm512_movepi8_mask(weights);
        }
#pragma clang loop unroll(full)
        for (int row = 0; row < rows; row++) {
            const __m512i levels = _mm512_set1_epi32(four(left + row * stride + group * TOGETHER));
#pragma clang loop unroll(full)
            for (int v = 0; v < VECTORS; v++) {
                const __m512i signs = _mm512_mask_sub_epi8(levels, negative[v], _mm512_setzero_si512(), levels);
                const __m512i pairs = _mm512_madd_epi16(_mm512_maddubs_epi16(sizes[v], signs), ones);
                sums[row][v] += (Sums)pairs;
            }
        }
    }
#elif defined(__AVX2__)
    const __m256i ones = _mm256_set1_epi16(1);
    for (int64_t group = 0; group < groups; group++) {
        __m256i weights[VECTORS], sizes[VECTORS];
        for (int v = 0; v < VECTORS; v++) {
            weights[v] = _mm256_loadu_si256((const __m256i *)(right + (group * COLUMNS + v * LANES) * TOGETHER));
            sizes[v] = _mm256_abs_epi8(weights[v]);
        }
#pragma clang loop unroll(full)
        for (int row = 0; row < rows; row++) {
            const __m256i levels = _mm256_set1_epi32(four(left + row * stride + group * TOGETHER));
#pragma clang loop unroll(full)
            for (int v = 0; v < VECTORS; v++) {
                const __m256i signs = _mm256_sign_epi8(levels, weights[v]);
                const __m256i pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(sizes[v], signs), ones);
                sums[row][v] += (Sums)pairs;
            }
        }
    }
#else
    for (int64_t group = 0; group < groups; group++) {
        int8x16_t weights[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            weights[v] = vld1q_s8((const int8_t *)right + (group * COLUMNS + v * LANES) * TOGETHER);
#pragma clang loop unroll(full)
        for (int row = 0; row < rows; row++) {
            const int8x16_t levels = vreinterpretq_s8_s32(vdupq_n_s32(four(left + row * stride + group * TOGETHER)));
#pragma clang loop unroll(full)
            for (int v = 0; v < VECTORS; v++) {
                const int16x8_t first = vmull_s8(vget_low_s8(weights[v]), vget_low_s8(levels));
                const int16x8_t second = vmull_high_s8(weights[v], levels);
                sums[row][v] = (Sums)vpadalq_s16((int32x4_t)sums[row][v], vpaddq_s16(first, second));
            }
        }
    }
#endif
}

/* What the sums of a row are too much by. */
static int32_t surplus(const int8_t *levels, int64_t count) {
    int32_t total = 0;
    for (int64_t j = 0; MORE != 0 && j < count; j++) total += levels[j];
    return total * MORE;
}

/* A tile's sums, as they were before both factors became levels. */
static inline __attribute__((always_inline)) void tile(const int rows, const Product *it, const int32_t *surpluses,
                                                       int64_t row, int64_t column) {
    Sums sums[ROWS][VECTORS];
    multiplied(rows, it->groups, it->left + row * it->stride, it->stride, it->packed + column * TOGETHER * it->groups,
               sums);
    const int64_t columns = least(COLUMNS, it->n - column);
    float by[COLUMNS] = {0}, bias[COLUMNS] = {0};
    memcpy(by, it->by + column, (size_t)columns * sizeof *by);
    if (it->bias) memcpy(bias, it->bias + column, (size_t)columns * sizeof *bias);
    for (int i = 0; i < rows; i++) {
        float whole[COLUMNS];
        for (int v = 0; v < VECTORS; v++) {
            Results scales, biases;
            memcpy(&scales, by + v * LANES, sizeof scales);
            memcpy(&biases, bias + v * LANES, sizeof biases);
            Results found = __builtin_convertvector(sums[i][v] - surpluses[i], Results) * it->scales[row + i] * scales;
            if (it->bias) found += biases;
            memcpy(whole + v * LANES, &found, sizeof found);
        }
        float *to = it->result + (row + i) * it->n + column;
        if (columns == COLUMNS)
            memcpy(to, whole, sizeof whole);
        else
            memcpy(to, whole, (size_t)columns * sizeof *whole);
    }
}

#define ALL_ROWS(one) one(1) one(2) one(3) one(4) MORE_ROWS(one)
#if defined(__AVX512VNNI__)
#define MORE_ROWS(one) one(5) one(6) one(7) one(8) one(9) one(10) one(11) one(12) one(13) one(14)
#elif defined(__AVX512F__)
#define MORE_ROWS(one) one(5) one(6) one(7) one(8) one(9) one(10)
#elif defined(__aarch64__)
#define MORE_ROWS(one) one(5) one(6) one(7) one(8)
#else
#define MORE_ROWS(one)
#endif
#define DEFINE(count)                                                                                       \
    static void tile_of_##count(const Product *it, const int32_t *surpluses, int64_t row, int64_t column) { \
        tile(count, it, surpluses, row, column);                                                             \
    }
ALL_ROWS(DEFINE)
#define NAME(count) tile_of_##count,
static void (*const TILES[ROWS])(const Product *, const int32_t *, int64_t, int64_t) = {ALL_ROWS(NAME)};

static void part(void *context, int64_t number) {
    const Product *it = context;
    const int64_t first = number % it->blocks * BLOCK, last = least(it->m, first + BLOCK);
    const int64_t begin = number / it->blocks * it->panels_each * COLUMNS;
    const int64_t end = least(it->n, begin + it->panels_each * COLUMNS);
    int32_t surpluses[BLOCK];
    for (int64_t row = first; row < last; row++)
        surpluses[row - first] = surplus(it->left + row * it->stride, it->groups * TOGETHER);
    for (int64_t column = begin; column < end; column += COLUMNS)
        for (int64_t row = first; row < last; row += ROWS)
            TILES[least(ROWS, last - row) - 1](it, surpluses + row - first, row, column);
}

/* result[m][n] = (left[m][k] * scales[m]) (right[n][k] * by[n])^T (+ bias[n]), of levels as `quantize` has them, with
 * zeros up to the next multiple of 4, and right as `pack_quantized` has it. */
void EXPORT(quantized_product)(int64_t m, int64_t n, int64_t k, const int8_t *left, int64_t stride, const float *scales,
                               const uint8_t *packed, const float *by, const float *bias, float *result, int threads) {
    if (m == 0 || n == 0) return;
    const int64_t blocks = (m + BLOCK - 1) / BLOCK, panels = (n + COLUMNS - 1) / COLUMNS;
    if (m * n * k < WORTH_A_THREAD) threads = 1;
    int64_t across = (4 * threads + blocks - 1) / blocks;
    across = threads == 1 ? 1 : least(across, panels);
    const int64_t each = (panels + across - 1) / across;
    Product product = {m, n, groups_of(k), stride, left, scales, packed, by, bias, result, blocks, each};
    retort_in_parts(part, &product, blocks * ((panels + each - 1) / each), threads);
}
