/* Softmax and cross-entropy of rows, sums of chosen rows, and sums of squares (docs/arithmetic.md, "Cross-entropy",
 * "Embeddings" and "Sums of squares"). */

#include "functions.h"
#include "kernels.h"
#include "shards.h"
#include "threads.h"

enum { ROWS = 16 };

typedef struct {
    int64_t m, n, stride;
    const float *x, *weights, *above;
    const int64_t *targets;
    float smoothing, of_weights;
    float *losses, *highest, *totals, *result;
} Rows;

/* Of a row its highest number, and the sum of the others' exponentials beside it. */
static inline void sum_of_row(const float *x, int64_t n, float *highest, float *sum) {
    Partial most = all(-__builtin_inff()), sums = {0};
    for (int64_t i = 0; i < n; i += PARTIAL) {
        const Partial some = load_or(x + i, n - i, most);
        most = choose(some > most, some, most);
    }
    float lanes[PARTIAL];
    memcpy(lanes, &most, sizeof lanes);
    *highest = lanes[0];
    for (int lane = 1; lane < PARTIAL; lane++) *highest = lanes[lane] > *highest ? lanes[lane] : *highest;
    for (int64_t i = 0; i < n; i += PARTIAL)
        sums += only(exponential(load_some(x + i, n - i) - *highest), n - i);
    *sum = total(sums);
}

static void softmax(void *context, int64_t number) {
    const Rows *it = context;
    const int64_t n = it->n, end = least(it->m, (number + 1) * ROWS);
    for (int64_t row = number * ROWS; row < end; row++) {
        const float *x = it->x + row * it->stride;
        float highest, sum;
        sum_of_row(x, n, &highest, &sum);
        const float share = 1 / sum;
        for (int64_t i = 0; i < n; i += PARTIAL)
            store_some(it->result + row * n + i, exponential(load_some(x + i, n - i) - highest) * share, n - i);
    }
}

void EXPORT(softmax)(int64_t m, int64_t n, const float *x, int64_t stride, float *result, int threads) {
    Rows rows = {.m = m, .n = n, .stride = stride, .x = x, .result = result};
    retort_in_parts(softmax, &rows, (m + ROWS - 1) / ROWS, threads);
}

static void softmax_by_x(void *context, int64_t number) {
    const Rows *it = context;
    const int64_t n = it->n, end = least(it->m, (number + 1) * ROWS);
    for (int64_t row = number * ROWS; row < end; row++) {
        const float *p = it->x + row * n, *above = it->above + row * n;
        Partial sums = {0};
        for (int64_t i = 0; i < n; i += PARTIAL)
            sums = fused(load_some(p + i, n - i), load_some(above + i, n - i), sums);
        const float inner = total(sums);
        for (int64_t i = 0; i < n; i += PARTIAL)
            store_some(it->result + row * n + i, load_some(p + i, n - i) * (load_some(above + i, n - i) - inner),
                       n - i);
    }
}

/* The gradient by x, of `above`, that by the softmax p. */
void EXPORT(softmax_gradient)(int64_t m, int64_t n, const float *above, const float *p, float *result, int threads) {
    Rows rows = {.m = m, .n = n, .x = p, .above = above, .result = result};
    retort_in_parts(softmax_by_x, &rows, (m + ROWS - 1) / ROWS, threads);
}

static inline Partial weights_of(const Rows *it, int64_t i) {
    return it->weights ? load_some(it->weights + i, it->n - i) : only(all(1), it->n - i);
}

static void losses(void *context, int64_t number) {
    const Rows *it = context;
    const int64_t n = it->n, end = least(it->m, (number + 1) * ROWS);
    for (int64_t row = number * ROWS; row < end; row++) {
        const float *x = it->x + row * it->stride;
        const int64_t target = it->targets[row];
        it->losses[row] = it->highest[row] = it->totals[row] = 0;
        if (target < 0) continue;
        float highest, sum;
        sum_of_row(x, n, &highest, &sum);
        Partial lanes = all(sum);
        lanes = logarithm(lanes);
        const float log_of_sum = lanes[0], weight = it->weights ? it->weights[target] : 1;
        const float of_target = weight * (log_of_sum - (x[target] - highest));
        float loss = of_target;
        if (it->smoothing > 0) {
            Partial sums = {0};
            for (int64_t i = 0; i < n; i += PARTIAL) {
                const Partial each = log_of_sum - (load_some(x + i, n - i) - highest);
                sums = fused(weights_of(it, i), only(each, n - i), sums);
            }
            const float share = it->smoothing / (float)n;
            loss = __builtin_fmaf(1 - it->smoothing, of_target, share * total(sums));
        }
        it->losses[row] = loss;
        it->highest[row] = highest;
        it->totals[row] = sum;
    }
}

/* Of each row the loss, its highest number and the sum of exponentials beside it; zeros where the target is negative. */
void EXPORT(cross_entropy)(int64_t m, int64_t n, const float *x, int64_t stride, const int64_t *targets,
                           const float *weights, float smoothing, float *result, float *highest, float *totals,
                           int threads) {
    Rows rows = {.m = m, .n = n, .stride = stride, .x = x, .targets = targets, .weights = weights,
                 .smoothing = smoothing, .losses = result, .highest = highest, .totals = totals};
    retort_in_parts(losses, &rows, (m + ROWS - 1) / ROWS, threads);
}

static void gradients(void *context, int64_t number) {
    const Rows *it = context;
    const int64_t n = it->n, end = least(it->m, (number + 1) * ROWS);
    for (int64_t row = number * ROWS; row < end; row++) {
        const float *x = it->x + row * it->stride;
        float *result = it->result + row * n;
        const int64_t target = it->targets[row];
        if (target < 0) {
            memset(result, 0, (size_t)n * sizeof *result);
            continue;
        }
        const float of_target = (1 - it->smoothing) * (it->weights ? it->weights[target] : 1);
        const float share = it->smoothing / (float)n, sum = __builtin_fmaf(share, it->of_weights, of_target);
        const float scale = 1 / it->totals[row], above = it->above[row];
        for (int64_t i = 0; i < n; i += PARTIAL) {
            const Partial p = exponential(load_some(x + i, n - i) - it->highest[row]) * scale;
            store_some(result + i, fused(all(-share), weights_of(it, i), p * sum), n - i);
        }
        result[target] -= of_target;
        for (int64_t i = 0; i < n; i += PARTIAL)
            store_some(result + i, load_some(result + i, n - i) * above, n - i);
    }
}

/* The gradient by x, of `above`, those of the losses. */
void EXPORT(cross_entropy_gradient)(int64_t m, int64_t n, const float *above, const float *x, int64_t stride,
                                    const int64_t *targets, const float *weights, float smoothing, float *highest,
                                    float *totals, float *result, int threads) {
    Rows rows = {.m = m, .n = n, .stride = stride, .x = x, .targets = targets, .weights = weights,
                 .smoothing = smoothing, .of_weights = (float)n, .above = above, .highest = highest,
                 .totals = totals, .result = result};
    if (weights) {
        Partial sums = {0};
        for (int64_t i = 0; i < n; i += PARTIAL) sums += weights_of(&rows, i);
        rows.of_weights = total(sums);
    }
    retort_in_parts(gradients, &rows, (m + ROWS - 1) / ROWS, threads);
}

typedef struct {
    int64_t count, n, stride;
    const int64_t *order, *starts, *shards;
    const float *x;
    float *result;
} Chosen;

static inline int64_t shard_of(const Chosen *it, int64_t one) { return it->shards ? it->shards[it->order[one]] : 0; }

/* The sum of the numbers from i on of those rows, from `*one` on, that are of its shard. */
static inline Partial sum_of_shard(const Chosen *it, int64_t row, int64_t i, int64_t *one) {
    const int64_t end = it->starts[row + 1], shard = shard_of(it, *one);
    Partial sum = {0};
    for (; *one < end && shard_of(it, *one) == shard; ++*one)
        sum += load_some(it->x + it->order[*one] * it->stride + i, it->n - i);
    return sum;
}

static void add_rows(void *context, int64_t number) {
    const Chosen *it = context;
    const int64_t end = least(it->count, (number + 1) * ROWS);
    for (int64_t row = number * ROWS; row < end; row++)
        for (int64_t i = 0; i < it->n; i += PARTIAL) {
            /* A shard without a row would add zero, which changes no sum: these begin with +0. Two that wait meet at the
             * level of the highest bit in which their numbers differ. */
            Partial waiting[WAITING] = {{0}};
            int levels[WAITING];
            int64_t count = 0, last = 0, one = it->starts[row];
            while (one < it->starts[row + 1]) {
                const int64_t shard = shard_of(it, one);
                const int level = count ? 63 - __builtin_clzll((uint64_t)(shard ^ last)) : 0;
                for (; count > 1 && levels[count - 1] < level; count--) waiting[count - 2] += waiting[count - 1];
                levels[count] = level;
                waiting[count++] = sum_of_shard(it, row, i, &one);
                last = shard;
            }
            for (; count > 1; count--) waiting[count - 2] += waiting[count - 1];
            store_some(it->result + row * it->n + i, waiting[0], it->n - i);
        }
}

/* result[row] = +0 + x[order[starts[row]]] + ... + x[order[starts[row + 1] - 1]] of the rows of each shard, and these
 * sums along the canonical tree. `shards` has the shard of each row of x, ascending along the order of a row; without it
 * all are of one. */
void EXPORT(add_rows)(int64_t count, int64_t n, const int64_t *order, const int64_t *starts, const int64_t *shards,
                      const float *x, int64_t stride, float *result, int threads) {
    Chosen it = {count, n, stride, order, starts, shards, x, result};
    retort_in_parts(add_rows, &it, (count + ROWS - 1) / ROWS, threads);
}

typedef struct {
    int64_t n, stride, shards;
    const int64_t *starts;
    const float *x;
    float *result;
} Columns;

enum { BESIDE = 4 };

static void add_columns(void *context, int64_t number) {
    const Columns *it = context;
    const int64_t first = number * BESIDE * PARTIAL, rest = it->n - first;
    Partial waiting[WAITING][BESIDE];
    int64_t count = 0;
    for (int64_t shard = 0; shard < it->shards; shard++) {
        Partial sums[BESIDE] = {{0}};
        for (int64_t row = it->starts[shard]; row < it->starts[shard + 1]; row++)
            for (int64_t i = 0; i < BESIDE && i * PARTIAL < rest; i++)
                sums[i] += load_some(it->x + row * it->stride + first + i * PARTIAL, rest - i * PARTIAL);
        memcpy(waiting[count++], sums, sizeof sums);
        for (int64_t left = additions(shard, it->shards, count); left > 0; left--, count--)
            for (int64_t i = 0; i < BESIDE; i++) waiting[count - 2][i] += waiting[count - 1][i];
    }
    for (int64_t i = 0; i < BESIDE && i * PARTIAL < rest; i++)
        store_some(it->result + first + i * PARTIAL, waiting[0][i], rest - i * PARTIAL);
}

/* result[n] = the sum of all rows of x: chains over those of a shard from +0 on, added along the canonical tree. */
void EXPORT(sum_of_rows)(int64_t shards, const int64_t *starts, int64_t n, const float *x, int64_t stride,
                         float *result, int threads) {
    Columns it = {n, stride, shards, starts, x, result};
    retort_in_parts(add_columns, &it, (n + BESIDE * PARTIAL - 1) / (BESIDE * PARTIAL), threads);
}

typedef double Doubles __attribute__((vector_size(8 * PARTIAL)));

typedef struct {
    const int64_t *starts;
    const float *x;
    double *result;
} Blocks;

static void square(void *context, int64_t block) {
    const Blocks *it = context;
    const int64_t end = it->starts[block + 1];
    Doubles sums = {0};
    for (int64_t i = it->starts[block]; i < end; i += PARTIAL) {
        const Doubles x = __builtin_convertvector(load_some(it->x + i, end - i), Doubles);
        sums = __builtin_elementwise_fma(x, x, sums);
    }
    double lanes[PARTIAL];
    memcpy(lanes, &sums, sizeof lanes);
    for (int half = PARTIAL / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
    it->result[block] = lanes[0];
}

/* The sum of squares of each block, from its start to the next one's, in float64. */
void EXPORT(squares)(int64_t blocks, const int64_t *starts, const float *x, double *result, int threads) {
    Blocks it = {starts, x, result};
    retort_in_parts(square, &it, blocks, threads);
}
