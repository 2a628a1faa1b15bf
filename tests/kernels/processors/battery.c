/* Every kernel of one instruction set on numbers that are drawn alike everywhere: a line with a digest for each. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "python/retort/kernels/c/kernels.h"

#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)

/* Splitmix64 (Steele, Lea and Flood, 2014). */
static uint64_t drawn(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Numbers of both signs, from 2^-8 to 2^4; some tiny ones, so that denormals come about. */
static float *numbers(uint64_t seed, int64_t count) {
    float *to = malloc((size_t)(count + 1) * sizeof *to);
    for (int64_t i = 0; i < count; i++) {
        const uint64_t bits = drawn(&seed);
        const uint32_t exponent = bits >> 32 & 0xff ? 119 + (uint32_t)(bits >> 40) % 12 : 40;
        const uint32_t whole = (uint32_t)bits & 0x807fffff, number = whole | exponent << 23;
        memcpy(to + i, &number, sizeof number);
    }
    return to;
}

static float *room(int64_t count) { return calloc((size_t)count + 1, sizeof(float)); }

/* FNV-1a, 64 bits. */
static void told(const char *name, const void *bytes, int64_t count) {
    uint64_t digest = 0xcbf29ce484222325u;
    for (int64_t i = 0; i < count; i++) digest = (digest ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    printf("%s %s %016llx\n", TEXT(SUFFIX), name, (unsigned long long)digest);
}

static void floats_told(const char *name, const float *from, int64_t count) { told(name, from, 4 * count); }

static void products(void) {
    static const int64_t shapes[][3] = {{1, 1, 1}, {7, 33, 20}, {40, 70, 300}, {100, 17, 5}};
    for (int one = 0; one < 4; one++) {
        const int64_t m = shapes[one][0], n = shapes[one][1], k = shapes[one][2];
        float *a = numbers(1, m * k), *b = numbers(2, k * n), *bias = numbers(3, n), *y = room(m * n);
        float *packed = room(EXPORT(packed_floats)(k + 1, n, 0));
        EXPORT(pack)(k, n, b, n, 1, 0, packed, 2);
        EXPORT(product)(m, n, k, a, k, 1, packed, bias, y, n, 0, 0, 1 + one);
        floats_told("product", y, m * n);
        EXPORT(pack)(k, n, b, 1, k, 0, packed, 2);
        EXPORT(product)(m, n, k, a, 1, m, packed, 0, y, n, 1, 0, 2);
        floats_told("product that goes on, of transposed matrices", y, m * n);
        EXPORT(pack)(k, n, b, n, 1, 1, packed, 2);
        EXPORT(product)(m, n, k, a, k, 1, packed, 0, y, n, 0, 1, 2);
        floats_told("product of bfloat16", y, m * n);
        float *small = numbers(19, m * k);
        for (int64_t i = 0; i < m * k; i++) small[i] *= 0x1p-122f;
        EXPORT(product)(m, n, k, small, 1, m, packed, bias, y, n, 0, 1, 2);
        floats_told("product of bfloat16, around the least normal number", y, m * n);
    }
}

static void quantized_products(void) {
    static const int64_t shapes[][3] = {{1, 1, 1}, {7, 33, 20}, {40, 70, 301}, {100, 17, 5}};
    for (int one = 0; one < 4; one++) {
        const int64_t m = shapes[one][0], n = shapes[one][1], k = shapes[one][2], stride = (k + 3) / 4 * 4;
        float *a = numbers(22, m * k), *b = numbers(23, n * k), *bias = numbers(24, n), *y = room(m * n);
        float *scales = room(m), *by = room(n);
        int8_t *left = calloc((size_t)(m * stride), 1), *right = calloc((size_t)(n * stride), 1);
        uint8_t *packed = calloc((size_t)EXPORT(packed_bytes)(k, n), 1);
        EXPORT(quantize)(m, k, a, k, left, stride, scales, 2);
        told("levels", left, m * stride);
        floats_told("scales", scales, m);
        EXPORT(quantize)(n, k, b, k, right, stride, by, 2);
        EXPORT(pack_quantized)(k, n, right, stride, packed, 2);
        EXPORT(quantized_product)(m, n, k, left, stride, scales, packed, by, one % 2 ? bias : 0, y, 1 + one);
        floats_told("product of int8", y, m * n);
    }
}

/* Rows of each shard of those that are computed at once, and of one that is alone. */
static const int64_t SHARDS[] = {0, 5, 5, 6, 15, 19, 19, 20}, ALONE[] = {0, 19};

static void sums_over_shards(void) {
    static const int64_t shapes[][2] = {{1, 1}, {7, 33}, {100, 150}};
    const int64_t k = 20, shards = 7;
    for (int one = 0; one < 3; one++) {
        const int64_t m = shapes[one][0], n = shapes[one][1];
        float *a = numbers(20, m * k), *b = numbers(21, k * n), *y = room(m * n);
        for (int rounded = 0; rounded < 2; rounded++) {
            float *packed = room(EXPORT(packed_floats)(2 * k, n, 0)), *place = packed;
            for (int64_t shard = 0; shard < shards; shard++) {
                const int64_t begin = SHARDS[shard], count = SHARDS[shard + 1] - begin;
                EXPORT(pack)(count, n, b + begin * n, n, 1, rounded, place, 2);
                place += EXPORT(packed_floats)(count, n, rounded);
            }
            EXPORT(sum_of_products)(m, n, shards, SHARDS, a, 1, m, packed, y, n, rounded, 1 + one);
            floats_told("sum of products", y, m * n);
        }
        EXPORT(sum_of_rows)(shards, SHARDS, n, b, n, y, 2);
        floats_told("sum of rows", y, n);
    }
}

static void norms(void) {
    const int64_t m = 19, n = 77;
    float *x = numbers(4, m * n), *above = numbers(5, m * n), *weight = numbers(6, n), *bias = numbers(7, n);
    float *y = room(m * n), *means = room(m), *scales = room(m), *by_bias = room(n);
    for (int centred = 0; centred < 2; centred++) {
        EXPORT(norm)(m, n, x, n, weight, centred ? bias : 0, 1e-12f, centred, y, means, scales, 2);
        floats_told("norm", y, m * n);
        EXPORT(norm_by_x)(m, n, above, n, x, n, weight, means, scales, centred, y, 2);
        floats_told("norm, by x", y, m * n);
        for (int alone = 0; alone < 2; alone++) {
            EXPORT(norm_by_weight)(alone ? 1 : 5, alone ? ALONE : SHARDS, n, above, n, x, n, means, scales, y, by_bias, 2);
            floats_told("norm, by weight", y, n);
            floats_told("norm, by bias", by_bias, n);
        }
    }
}

static void elements(void) {
    static const char *const names[] = {"exp", "log", "erf", "tanh", "gelu", "gelu_tanh", "silu"};
    const int64_t n = 5003;
    float *x = numbers(8, n), *above = numbers(9, n), *y = room(n), *second = numbers(10, n);
    for (int function = 0; function < 7; function++) {
        /* The logarithm of a negative number is none, the bits of which differ. */
        for (int64_t i = 0; i < n && function == 1; i++) second[i] = x[i] < 0 ? -x[i] : x[i];
        EXPORT(apply)(function, n, function == 1 ? second : x, y, 2);
        floats_told(names[function], y, n);
        if (function < 4) continue;
        EXPORT(apply_gradient)(function, n, above, x, y, 2);
        floats_told(names[function], y, n);
    }
    EXPORT(dropout)(n, 12345, x, 0x123456789abcdef, 6554, 1.11f, y, 2);
    floats_told("dropout", y, n);
    EXPORT(normal)(n, 0x123456789abcdef, y, 2);
    floats_told("normal numbers", y, n);
    EXPORT(adamw)(n, x, above, y, second, 0.7f, 0.999f, 1e-3f, 0.1f, 0.99f, 0.01f, 0.3f, 1e-8f, 2);
    floats_told("adamw, weight", x, n);
    floats_told("adamw, first moment", y, n);
    floats_told("adamw, second moment", second, n);
    static const int64_t positions[] = {0, 2, 1, 4, 4};
    float *heads = numbers(11, 5 * 3 * 14);
    EXPORT(rotate)(5, 3, 7, heads, 42, 14, positions, above, x, -1, y, 2);
    floats_told("rotary positions", y, 5 * 3 * 14);
}

static void rows(void) {
    const int64_t m = 21, n = 83;
    float *x = numbers(12, m * n), *weights = numbers(13, n), *above = numbers(14, m), *y = room(m * n);
    float *losses = room(m), *highest = room(m), *totals = room(m);
    int64_t targets[21], order[21];
    for (int64_t row = 0; row < m; row++) targets[row] = row % 5 ? row * 3 : -100, order[row] = row * 8 % m;
    EXPORT(softmax)(m, n, x, n, y, 2);
    floats_told("softmax", y, m * n);
    float *by_x = room(m * n);
    EXPORT(softmax_gradient)(m, n, x, y, by_x, 2);
    floats_told("softmax, by x", by_x, m * n);
    for (int smoothed = 0; smoothed < 2; smoothed++) {
        const float *weighted = smoothed ? weights : 0;
        EXPORT(cross_entropy)(m, n, x, n, targets, weighted, 0.1f * (float)smoothed, losses, highest, totals, 2);
        floats_told("cross-entropy", losses, m);
        EXPORT(cross_entropy_gradient)(m, n, above, x, n, targets, weighted, 0.1f * (float)smoothed, highest, totals,
                                       y, 2);
        floats_told("cross-entropy, by x", y, m * n);
    }
    static const int64_t starts[] = {0, 1, 1, 9, 21}, blocks[] = {0, 16, 16, 1000, 1743};
    double sums[4];
    static const int64_t owners[] = {0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 5, 5, 5, 6, 6, 6, 8, 8, 8, 8, 9};
    int64_t ascending[21];
    for (int64_t row = 0; row < m; row++) ascending[row] = row;
    EXPORT(add_rows)(4, n, order, starts, 0, x, n, y, 2);
    floats_told("sums of rows", y, 4 * n);
    EXPORT(add_rows)(4, n, ascending, starts, owners, x, n, y, 2);
    floats_told("sums of rows of shards", y, 4 * n);
    EXPORT(squares)(4, blocks, x, sums, 2);
    told("sums of squares", sums, sizeof sums);
}

static void attention(void) {
    static const int64_t offsets[] = {0, 5, 5, 45, 62};
    const int64_t tokens = 62, heads = 4, shared = 2, width = 20;
    const int64_t of_q = heads * width, of_k = shared * width;
    const int64_t strides[] = {of_q, width, of_k, width, of_k, width, of_q, width,
                               of_q, width, of_q, width, of_k, width, of_k, width};
    float *q = numbers(15, tokens * of_q), *k = numbers(16, tokens * of_k), *v = numbers(17, tokens * of_k);
    float *above = numbers(18, tokens * of_q), *y = room(tokens * of_q), *by_q = room(tokens * of_q);
    float *by_k = room(tokens * of_k), *by_v = room(tokens * of_k), *highest = room(4 * tokens);
    float *shares = room(4 * tokens);
    for (int way = 0; way < 4; way++) {
        const int causal = way % 2, below = way / 2 * 10000;
        EXPORT(attention)(4, heads, heads / shared, width, offsets, q, k, v, strides, 0.2f, causal, 77, below, 1.2f, y,
                          highest, shares, 2);
        floats_told("attention", y, tokens * of_q);
        EXPORT(attention_gradients)(4, heads, heads / shared, width, offsets, above, q, k, v, strides, 0.2f, causal,
                                    77, below, 1.2f, highest, shares, by_q, by_k, by_v, 2);
        floats_told("attention, by q", by_q, tokens * of_q);
        floats_told("attention, by k", by_k, tokens * of_k);
        floats_told("attention, by v", by_v, tokens * of_k);
    }
}

void EXPORT(battery)(void) {
    products();
    quantized_products();
    sums_over_shards();
    norms();
    elements();
    rows();
    attention();
}

/* Products of bfloat16 of which one comes to lie half a unit below the least normal number, one above and one below. */
void EXPORT(edges)(void) {
    static const float below[] = {0x1p-26f, 0x1p-25f, 0x1.8p-25f};
    for (int one = 0; one < 3; one++) {
        const float a[] = {0x1p-100f, 0x1p-63f}, b[] = {-below[one] * 0x1p-26f, 0x1p-63f};
        float y[1], *packed = room(EXPORT(packed_floats)(2, 1, 1));
        EXPORT(pack)(2, 1, b, 1, 1, 1, packed, 2);
        EXPORT(product)(1, 1, 2, a, 2, 1, packed, 0, y, 1, 0, 1, 1);
        floats_told("edge", y, 1);
    }
}
