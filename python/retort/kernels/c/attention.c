/* Attention within each of the sequences that lie one after another (docs/arithmetic.md, "Attention").
 *
 * The lanes of a vector are 16 queries of one sequence and head; what runs over the keys runs down the rows of a
 * tile [keys][16]. So a softmax needs no sum across lanes, nothing is padded but the last queries, and neither scores
 * nor masks of a whole sequence are ever in memory. */

#include <stdlib.h>

#include "functions.h"
#include "kernels.h"
#include "threads.h"

#if defined(__AVX512F__)
enum { ROWS = 12 };
#else
enum { ROWS = 6 };
#endif
enum { TILE = PARTIAL };

/* Where the numbers of a token and a head are; those of a head lie beside each other. */
typedef struct {
    float *at;
    int64_t token, head;
} Heads;

typedef struct {
    int64_t heads, sharing, width; /* sharing: heads of q with one head of k and v */
    const int64_t *offsets;
    Heads q, k, v, result, above, by_q, by_k, by_v;
    float *highest, *shares; /* [tokens][heads]: of each row of scores, and 1 / the sum of its exponentials */
    float scale;
    int causal;
    Dropout dropout;
    int failed;
} Attention;

static inline float *of(Heads it, int64_t token, int64_t head) { return it.at + token * it.token + head * it.head; }

static inline Partial load(const float *from) {
    Partial to;
    memcpy(&to, from, sizeof to);
    return to;
}

static inline void store(float *to, Partial from) { memcpy(to, &from, sizeof from); }

/* result[rows][16] goes on with a[depth][rows] b[depth][16], each by strides. */
static inline __attribute__((always_inline)) void chains_of(const int rows, int64_t depth, const float *a, int64_t a_k,
                                                            int64_t a_row, const float *b, int64_t b_k, float *result,
                                                            int64_t stride, int begins) {
    Partial sums[ROWS];
    for (int row = 0; row < rows; row++) sums[row] = begins ? (Partial){0} : load(result + row * stride);
    for (int64_t k = 0; k < depth; k++) {
        const Partial right = load(b + k * b_k);
#pragma clang loop unroll(full)
        for (int row = 0; row < rows; row++) sums[row] = fused(all(a[k * a_k + row * a_row]), right, sums[row]);
    }
    for (int row = 0; row < rows; row++) store(result + row * stride, sums[row]);
}

static inline __attribute__((always_inline)) void chains(int64_t rows, int64_t depth, const float *a, int64_t a_k,
                                                         int64_t a_row, const float *b, int64_t b_k, float *result,
                                                         int64_t stride, int begins) {
    for (; rows >= ROWS; rows -= ROWS, a += ROWS * a_row, result += ROWS * stride)
        chains_of(ROWS, depth, a, a_k, a_row, b, b_k, result, stride, begins);
    if (ROWS > 6 && rows >= 6) {
        chains_of(6, depth, a, a_k, a_row, b, b_k, result, stride, begins);
        rows -= 6, a += 6 * a_row, result += 6 * stride;
    }
    switch (rows) {
#define CASE(count) \
    case count: chains_of(count, depth, a, a_k, a_row, b, b_k, result, stride, begins); break;
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5)
#undef CASE
    }
}

/* [width][16] of 16 tokens, and zeros beyond the last. */
static void across(float *to, Heads from, int64_t token, int64_t count, int64_t head, int64_t width) {
    for (int64_t lane = 0; lane < TILE; lane++) {
        const float *row = of(from, token + lane, head);
        for (int64_t i = 0; i < width; i++) to[i * TILE + lane] = lane < count ? row[i] : 0;
    }
}

static void back(const float *from, Heads to, int64_t token, int64_t count, int64_t head, int64_t width) {
    for (int64_t lane = 0; lane < count; lane++) {
        float *row = of(to, token + lane, head);
        for (int64_t i = 0; i < width; i++) row[i] = from[i * TILE + lane];
    }
}

/* The numbers of a tile, one query a lane. */
typedef struct {
    int64_t sequence, begin, first, count, head, keys; /* first: the first query, from the sequence's begin on */
    Integers lanes;                                    /* the queries, from the sequence's begin on */
} Tile;

/* Where a query sees a key. */
static inline Integers sees(const Attention *it, const Tile *tile, int64_t key) {
    return it->causal ? tile->lanes >= (int32_t)key : (Integers){0} == 0;
}

static Tile tile_of(const Attention *it, int64_t sequence, int64_t first, int64_t head) {
    const int64_t begin = it->offsets[sequence], length = it->offsets[sequence + 1] - begin;
    Tile tile = {sequence, begin, first, least(TILE, length - first), head,
                 it->causal ? least(length, first + TILE) : length, {0}};
    for (int lane = 0; lane < TILE; lane++) tile.lanes[lane] = (int32_t)first + lane;
    return tile;
}

/* scores[keys][16] */
static void score(const Attention *it, const Tile *tile, const float *queries, float *scores) {
    chains(tile->keys, it->width, of(it->k, tile->begin, tile->head / it->sharing), 1, it->k.token, queries, TILE,
           scores, TILE, 1);
}

static inline void keep(const Attention *it, const Tile *tile, int64_t key, Integers kept[DECISIONS]) {
    decisions(&it->dropout, (uint32_t)(key / DECISIONS * TILE), (uint32_t)(tile->first / TILE), (uint32_t)tile->head,
              (uint32_t)tile->sequence, kept);
}

static void forward(const Attention *it, const Tile *tile, float *room) {
    const int64_t keys = tile->keys, width = it->width;
    float *scores = room, *queries = scores + keys * TILE, *made = queries + width * TILE;
    across(queries, it->q, tile->begin + tile->first, tile->count, tile->head, width);
    score(it, tile, queries, scores);
    Partial highest = all(-__builtin_inff());
    for (int64_t j = 0; j < keys; j++) {
        const Partial s = load(scores + j * TILE) * it->scale;
        store(scores + j * TILE, s);
        highest = choose((s > highest) & sees(it, tile, j), s, highest);
    }
    Partial sums[PARTIAL] = {{0}};
    for (int64_t j = 0; j < keys; j++) {
        const Partial e = choose(sees(it, tile, j), exponential(load(scores + j * TILE) - highest), all(0));
        store(scores + j * TILE, e);
        sums[j % PARTIAL] += e;
    }
    for (int half = PARTIAL / 2; half; half /= 2)
        for (int i = 0; i < half; i++) sums[i] += sums[i + half];
    const Partial share = 1 / sums[0];
    if (it->dropout.below) {
        for (int64_t j = 0; j < keys; j += DECISIONS) {
            Integers kept[DECISIONS];
            keep(it, tile, j, kept);
            for (int64_t i = 0; i < least(DECISIONS, keys - j); i++) {
                const Partial p = load(scores + (j + i) * TILE) * share;
                store(scores + (j + i) * TILE, choose(kept[i], p * it->dropout.scale, all(0)));
            }
        }
    } else {
        for (int64_t j = 0; j < keys; j++) store(scores + j * TILE, load(scores + j * TILE) * share);
    }
    chains(width, keys, of(it->v, tile->begin, tile->head / it->sharing), it->v.token, 1, scores, TILE, made, TILE, 1);
    back(made, it->result, tile->begin + tile->first, tile->count, tile->head, width);
    for (int64_t lane = 0; lane < tile->count; lane++) {
        const int64_t row = (tile->begin + tile->first + lane) * it->heads + tile->head;
        it->highest[row] = highest[lane];
        it->shares[row] = share[lane];
    }
}

/* Rows of 16 tokens in whole vectors: where they lie, or a copy with zeros. */
static const float *rows_of(Heads from, int64_t token, int64_t count, int64_t head, int64_t width, float *copy,
                            int64_t *stride) {
    *stride = from.token;
    if (width % PARTIAL == 0) return of(from, token, head);
    *stride = (width + PARTIAL - 1) / PARTIAL * PARTIAL;
    for (int64_t i = 0; i < count; i++) {
        memset(copy + i * *stride, 0, (size_t)*stride * sizeof *copy);
        memcpy(copy + i * *stride, of(from, token + i, head), (size_t)width * sizeof *copy);
    }
    return copy;
}

/* by_k and by_v: [keys][whole], that go on. */
static void backward(const Attention *it, const Tile *tile, float *by_k, float *by_v, float *room) {
    const int64_t keys = tile->keys, width = it->width, whole = (width + PARTIAL - 1) / PARTIAL * PARTIAL;
    const int64_t token = tile->begin + tile->first, shared = tile->head / it->sharing;
    float *scores = room, *slopes = scores + keys * TILE, *queries = slopes + keys * TILE;
    float *aboves = queries + TILE * whole, *copy = aboves + TILE * whole;
    Partial highest = {0}, share = {0};
    for (int64_t lane = 0; lane < tile->count; lane++) {
        highest[lane] = it->highest[(token + lane) * it->heads + tile->head];
        share[lane] = it->shares[(token + lane) * it->heads + tile->head];
    }
    across(queries, it->q, token, tile->count, tile->head, width);
    across(aboves, it->above, token, tile->count, tile->head, width);
    score(it, tile, queries, scores);
    chains(keys, width, of(it->v, tile->begin, shared), 1, it->v.token, aboves, TILE, slopes, TILE, 1);
    Partial sums[PARTIAL] = {{0}};
    for (int64_t j = 0; j < keys; j += DECISIONS) {
        Integers kept[DECISIONS];
        if (it->dropout.below) keep(it, tile, j, kept);
        for (int64_t i = 0; i < least(DECISIONS, keys - j); i++) {
            float *score_at = scores + (j + i) * TILE, *slope_at = slopes + (j + i) * TILE;
            const Partial e = exponential(load(score_at) * it->scale - highest);
            const Partial p = choose(sees(it, tile, j + i), e, all(0)) * share;
            Partial slope = load(slope_at);
            if (it->dropout.below) slope = choose(kept[i], slope * it->dropout.scale, all(0));
            store(score_at, p);
            store(slope_at, slope);
            sums[(j + i) % PARTIAL] = fused(p, slope, sums[(j + i) % PARTIAL]);
        }
    }
    for (int half = PARTIAL / 2; half; half /= 2)
        for (int i = 0; i < half; i++) sums[i] += sums[i + half];
    for (int64_t j = 0; j < keys; j += DECISIONS) {
        Integers kept[DECISIONS];
        if (it->dropout.below) keep(it, tile, j, kept);
        for (int64_t i = 0; i < least(DECISIONS, keys - j); i++) {
            float *score_at = scores + (j + i) * TILE, *slope_at = slopes + (j + i) * TILE;
            const Partial p = load(score_at), by_score = p * (load(slope_at) - sums[0]) * it->scale;
            store(slope_at, choose(sees(it, tile, j + i), by_score, all(0)));
            if (it->dropout.below) store(score_at, choose(kept[i], p * it->dropout.scale, all(0)));
        }
    }
    int64_t stride;
    const float *rows = rows_of(it->above, token, tile->count, tile->head, width, copy, &stride);
    for (int64_t i = 0; i < whole; i += PARTIAL)
        chains(keys, tile->count, scores, 1, TILE, rows + i, stride, by_v + i, whole, 0);
    rows = rows_of(it->q, token, tile->count, tile->head, width, copy, &stride);
    for (int64_t i = 0; i < whole; i += PARTIAL)
        chains(keys, tile->count, slopes, 1, TILE, rows + i, stride, by_k + i, whole, 0);
    chains(width, keys, of(it->k, tile->begin, shared), it->k.token, 1, slopes, TILE, queries, TILE, 1);
    back(queries, it->by_q, token, tile->count, tile->head, width);
}

/* Memory of this thread's own, which grows and stays. */
static float *room_for(int64_t floats) {
    static _Thread_local float *room;
    static _Thread_local int64_t has;
    if (floats > has) {
        free(room);
        room = aligned_alloc(64, (size_t)(floats + 15) / 16 * 64);
        has = room ? floats : 0;
    }
    return room;
}

static void forward_part(void *context, int64_t number) {
    Attention *it = context;
    const int64_t sequence = number / it->heads, head = number % it->heads;
    const int64_t length = it->offsets[sequence + 1] - it->offsets[sequence];
    float *room = room_for(TILE * (length + 2 * it->width));
    if (!room) it->failed = 1;
    for (int64_t first = 0; room && first < length; first += TILE) {
        const Tile tile = tile_of(it, sequence, first, head);
        forward(it, &tile, room);
    }
}

/* One head of k and v, with all the heads of q that share it. */
static void backward_part(void *context, int64_t number) {
    Attention *it = context;
    const int64_t shared_heads = it->heads / it->sharing, sequence = number / shared_heads;
    const int64_t shared = number % shared_heads, begin = it->offsets[sequence];
    const int64_t length = it->offsets[sequence + 1] - begin, whole = (it->width + PARTIAL - 1) / PARTIAL * PARTIAL;
    float *room = room_for(2 * length * (TILE + whole) + 3 * TILE * whole);
    if (!room) it->failed = 1;
    if (!room || !length) return;
    float *by_k = room, *by_v = by_k + length * whole, *rest = by_v + length * whole;
    memset(room, 0, (size_t)(2 * length * whole) * sizeof *room);
    for (int64_t head = shared * it->sharing; head < (shared + 1) * it->sharing; head++)
        for (int64_t first = 0; first < length; first += TILE) {
            const Tile tile = tile_of(it, sequence, first, head);
            backward(it, &tile, by_k, by_v, rest);
        }
    for (int64_t j = 0; j < length; j++) {
        memcpy(of(it->by_k, begin + j, shared), by_k + j * whole, (size_t)it->width * sizeof *room);
        memcpy(of(it->by_v, begin + j, shared), by_v + j * whole, (size_t)it->width * sizeof *room);
    }
}

/* Both return 0, or 1 where there was not enough memory. `strides` are those of tokens and heads, of q, k, v and the
 * result, then of its gradient and those by q, k and v. */
int EXPORT(attention)(int64_t sequences, int64_t heads, int64_t sharing, int64_t width, const int64_t *offsets,
                      float *q, float *k, float *v, const int64_t *strides, float scale, int causal, int64_t key,
                      int below, float dropout_scale, float *result, float *highest, float *shares, int threads) {
    Attention it = {.heads = heads, .sharing = sharing, .width = width, .offsets = offsets,
                    .q = {q, strides[0], strides[1]}, .k = {k, strides[2], strides[3]},
                    .v = {v, strides[4], strides[5]}, .result = {result, strides[6], strides[7]}, .scale = scale,
                    .causal = causal, .highest = highest, .shares = shares,
                    .dropout = {{(uint32_t)key, (uint32_t)(key >> 32)}, (uint32_t)below, dropout_scale}};
    retort_in_parts(forward_part, &it, sequences * heads, threads);
    return it.failed;
}

int EXPORT(attention_gradients)(int64_t sequences, int64_t heads, int64_t sharing, int64_t width,
                                const int64_t *offsets, float *above, float *q, float *k, float *v,
                                const int64_t *strides, float scale, int causal, int64_t key, int below,
                                float dropout_scale, float *highest, float *shares, float *by_q, float *by_k,
                                float *by_v, int threads) {
    Attention it = {.heads = heads, .sharing = sharing, .width = width, .offsets = offsets,
                    .q = {q, strides[0], strides[1]}, .k = {k, strides[2], strides[3]},
                    .v = {v, strides[4], strides[5]}, .above = {above, strides[8], strides[9]},
                    .by_q = {by_q, strides[10], strides[11]}, .by_k = {by_k, strides[12], strides[13]},
                    .by_v = {by_v, strides[14], strides[15]}, .scale = scale, .causal = causal, .highest = highest,
                    .shares = shares,
                    .dropout = {{(uint32_t)key, (uint32_t)(key >> 32)}, (uint32_t)below, dropout_scale}};
    retort_in_parts(backward_part, &it, sequences * (heads / sharing), threads);
    return it.failed;
}
