/* LayerNorm and RMSNorm over the rows of a matrix (docs/arithmetic.md, "Norms"). */

#include <stdint.h>

#include "kernels.h"
#include "shards.h"
#include "threads.h"
#include "vectors.h"

/* Rows, or columns, that are one part of the work. */
enum { ROWS = 16, COLUMNS = 4 * PARTIAL };

typedef struct {
    int64_t m, n, stride_x, stride_above, shards;
    const int64_t *starts;
    const float *x, *above, *weight, *bias;
    float epsilon;
    int centred;
    float *means, *scales, *result, *by_bias;
} Norm;

static void forward(void *context, int64_t number) {
    const Norm *it = context;
    const int64_t n = it->n, end = least(it->m, (number + 1) * ROWS);
    for (int64_t row = number * ROWS; row < end; row++) {
        const float *x = it->x + row * it->stride_x;
        float *y = it->result + row * n, mean = 0;
        if (it->centred) {
            Partial sums = {0};
            for (int64_t i = 0; i < n; i += PARTIAL) sums += load_some(x + i, n - i);
            mean = total(sums) / (float)n;
        }
        Partial squares = {0};
        for (int64_t i = 0; i < n; i += PARTIAL) {
            const Partial d = only(load_some(x + i, n - i) - mean, n - i);
            squares = fused(d, d, squares);
        }
        const float scale = 1 / __builtin_sqrtf(total(squares) / (float)n + it->epsilon);
        for (int64_t i = 0; i < n; i += PARTIAL) {
            const Partial t = (load_some(x + i, n - i) - mean) * scale, weight = load_some(it->weight + i, n - i);
            const Partial made =
                it->bias ? fused(t, weight, load_some(it->bias + i, n - i)) : t * weight;
            store_some(y + i, made, n - i);
        }
        it->means[row] = mean;
        it->scales[row] = scale;
    }
}

/* y[m][n], and of each row the mean and the reciprocal of the deviation. */
void EXPORT(norm)(int64_t m, int64_t n, const float *x, int64_t stride_x, const float *weight, const float *bias,
                  float epsilon, int centred, float *y, float *means, float *scales, int threads) {
    Norm norm = {.m = m, .n = n, .stride_x = stride_x, .x = x, .weight = weight, .bias = bias, .epsilon = epsilon,
                 .centred = centred, .means = means, .scales = scales, .result = y};
    retort_in_parts(forward, &norm, (m + ROWS - 1) / ROWS, threads);
}

static void backward(void *context, int64_t number) {
    const Norm *it = context;
    const int64_t n = it->n, end = least(it->m, (number + 1) * ROWS);
    for (int64_t row = number * ROWS; row < end; row++) {
        const float *x = it->x + row * it->stride_x, *above = it->above + row * it->stride_above;
        const float mean = it->means[row], scale = it->scales[row];
        Partial plain = {0}, along = {0};
        for (int64_t i = 0; i < n; i += PARTIAL) {
            const Partial t = (load_some(x + i, n - i) - mean) * scale;
            const Partial h = load_some(above + i, n - i) * load_some(it->weight + i, n - i);
            plain += h;
            along = fused(h, only(t, n - i), along);
        }
        const float first = it->centred ? total(plain) / (float)n : 0, second = total(along) / (float)n;
        const Partial less = all(-second);
        for (int64_t i = 0; i < n; i += PARTIAL) {
            const Partial t = (load_some(x + i, n - i) - mean) * scale;
            const Partial h = load_some(above + i, n - i) * load_some(it->weight + i, n - i);
            const Partial made = fused(t, less, h - first) * scale;
            store_some(it->result + row * n + i, made, n - i);
        }
    }
}

/* The gradient by x, of `above`, that by y. */
void EXPORT(norm_by_x)(int64_t m, int64_t n, const float *above, int64_t stride_above, const float *x, int64_t stride_x,
                       const float *weight, float *means, float *scales, int centred, float *by_x, int threads) {
    Norm norm = {.m = m, .n = n, .stride_x = stride_x, .stride_above = stride_above, .x = x, .above = above,
                 .weight = weight, .centred = centred, .means = means, .scales = scales, .result = by_x};
    retort_in_parts(backward, &norm, (m + ROWS - 1) / ROWS, threads);
}

static void columns(void *context, int64_t number) {
    const Norm *it = context;
    const int64_t end = least(it->n, (number + 1) * COLUMNS);
    for (int64_t column = number * COLUMNS; column < end; column += PARTIAL) {
        const int64_t count = end - column;
        Partial weights[WAITING], biases[WAITING];
        int64_t waiting = 0;
        for (int64_t shard = 0; shard < it->shards; shard++) {
            Partial by_weight = {0}, by_bias = {0};
            for (int64_t row = it->starts[shard]; row < it->starts[shard + 1]; row++) {
                const Partial above = load_some(it->above + row * it->stride_above + column, count);
                const Partial x = load_some(it->x + row * it->stride_x + column, count);
                by_weight = fused(above, (x - it->means[row]) * it->scales[row], by_weight);
                by_bias += above;
            }
            weights[waiting] = by_weight;
            biases[waiting++] = by_bias;
            for (int64_t left = additions(shard, it->shards, waiting); left > 0; left--, waiting--) {
                weights[waiting - 2] += weights[waiting - 1];
                biases[waiting - 2] += biases[waiting - 1];
            }
        }
        store_some(it->result + column, weights[0], count);
        store_some(it->by_bias + column, biases[0], count);
    }
}

/* The gradients by weight and bias: chains over the rows of a shard, which begin at its start; their sums along the
 * canonical tree. */
void EXPORT(norm_by_weight)(int64_t shards, const int64_t *starts, int64_t n, const float *above, int64_t stride_above,
                            const float *x, int64_t stride_x, float *means, float *scales, float *by_weight,
                            float *by_bias, int threads) {
    Norm norm = {.n = n, .shards = shards, .starts = starts, .stride_x = stride_x, .stride_above = stride_above, .x = x,
                 .above = above, .means = means, .scales = scales, .result = by_weight, .by_bias = by_bias};
    retort_in_parts(columns, &norm, (n + COLUMNS - 1) / COLUMNS, threads);
}
