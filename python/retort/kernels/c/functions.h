/* exp, log, erf and tanh of 16 numbers at a time, by one order of operations (docs/arithmetic.md, "Functions"); and
 * random bits as a function of a key and a counter, Philox4x32-10 (Salmon and others, "Parallel Random Numbers: As Easy
 * as 1, 2, 3", 2011; "Dropout" there).
 *
 * The polynomials are minimax fits (Lawson's weights on 400 Chebyshev points, coefficients rounded one after another
 * from the lowest on), each under a tenth of an ulp from its function. */

#ifndef RETORT_FUNCTIONS_H
#define RETORT_FUNCTIONS_H

#include "vectors.h"

#define LOG2_E 0x1.715476p+0f
#define LN2_HIGH 0x1.62e43p-1f
#define LN2_LOW -0x1.05c61p-29f

/* The polynomial whose coefficients are given, the highest first. */
static inline __attribute__((always_inline)) Partial polynomial(Partial x, const float *coefficients, int count) {
    Partial sum = all(coefficients[0]);
    for (int i = 1; i < count; i++) sum = fused(sum, x, all(coefficients[i]));
    return sum;
}

#define POLYNOMIAL(x, ...) \
    polynomial(x, (const float[]){__VA_ARGS__}, sizeof((const float[]){__VA_ARGS__}) / sizeof(float))

/* 2^n, for n from -126 to 127. */
static inline Partial power_of_two(Integers n) { return as_floats((n + 127) << 23); }

static inline Partial exponential(Partial x) {
    /* Beyond these it is zero and infinity. */
    const Partial near = choose(x < all(-104), all(-104), choose(x > all(89), all(89), x));
    const Partial n = __builtin_elementwise_roundeven(near * LOG2_E);
    const Partial r = fused(n, all(-LN2_LOW), fused(n, all(-LN2_HIGH), near));
    const Partial p = POLYNOMIAL(r, 0x1.6a4f70p-10f, 0x1.123980p-7f, 0x1.5558aep-5f, 0x1.555492p-3f, 0x1.fffffcp-2f);
    const Partial y = 1 + fused(p, r * r, r);
    const Integers whole = __builtin_convertvector(choose(x == x, n, all(0)), Integers), half = whole >> 1;
    return y * power_of_two(half) * power_of_two(whole - half);
}

static inline Partial logarithm(Partial x) {
    const Integers tiny = x < all(0x1p-126f);
    const Integers bits = as_integers(choose(tiny, x * 0x1p23f, x)) - 0x3f3504f3;
    const Partial e = __builtin_convertvector((bits >> 23) - (tiny & 23), Partial);
    const Partial f = as_floats((bits & 0x7fffff) + 0x3f3504f3) - 1, s = f * f;
    const Partial p = POLYNOMIAL(f, -0x1.38ce9ap-4f, 0x1.055fe0p-3f, -0x1.0d81e0p-3f, 0x1.22d8fep-3f, -0x1.54728ep-3f,
                                 0x1.99a01ep-3f, -0x1.000226p-2f, 0x1.555554p-2f);
    const Partial t = fused(e, all(LN2_LOW), fused(all(-0.5f), s, p * (s * f)));
    const Partial y = fused(e, all(LN2_HIGH), f + t);
    const Partial of_zero = choose(x == all(0), all(-__builtin_inff()), all(__builtin_nanf("")));
    return choose(x > all(0), choose(x < all(__builtin_inff()), y, x), choose(x == x, of_zero, x));
}

static inline Partial error_function(Partial x) {
    const Partial a = magnitude(x), s = x * x;
    const Partial p = POLYNOMIAL(s, 0x1.4771fcp-14f, -0x1.a3515ep-11f, 0x1.53f224p-8f, -0x1.b7f71ap-6f, 0x1.ce2ce6p-4f,
                                 -0x1.81273ep-2f, 0x1.06eba8p-3f);
    const Partial near = choose(a > all(4), all(4), a);
    const Partial q = POLYNOMIAL(near, 0x1.8970b6p-13f, -0x1.83fd4cp-9f, 0x1.66a3eap-6f, -0x1.a6c830p-4f,
                                 -0x1.46a986p-1f, -0x1.208e54p+0f, -0x1.501b0ap-12f);
    return choose(a < all(1), fused(x, p, x), with_sign_of(x, 1 - exponential(q)));
}

static inline Partial hyperbolic_tangent(Partial x) {
    const Partial a = magnitude(x), s = x * x;
    const Partial p = POLYNOMIAL(s, 0x1.18b48cp-9f, -0x1.0c01dcp-7f, 0x1.6394c2p-6f, -0x1.b9f04ep-5f, 0x1.111076p-3f,
                                 -0x1.555554p-2f);
    const Partial far = 1 - 2 / (exponential(a + a) + 1);
    return choose(a < all(0.625f), fused(x * s, p, x), with_sign_of(x, far));
}

typedef uint32_t Bits __attribute__((vector_size(4 * PARTIAL)));
typedef uint64_t Wide __attribute__((vector_size(8 * PARTIAL)));

/* Decisions of one counter, each of 16 bits. */
enum { DECISIONS = 8 };

typedef struct {
    uint32_t key[2];
    uint32_t below; /* of 65536: what is dropped */
    float scale;
} Dropout;

static inline Bits times(Bits x, uint32_t factor, Bits *high) {
    const Wide product = __builtin_convertvector(x, Wide) * (uint64_t)factor;
    *high = __builtin_convertvector(product >> 32, Bits);
    return __builtin_convertvector(product, Bits);
}

/* Of 16 counters, whose first words are `first` and what follows it, four words each. */
static inline void random_words(const uint32_t keys[2], uint32_t first, uint32_t second, uint32_t third,
                                uint32_t fourth, Bits words[4]) {
    Bits x = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, y = {0}, z = {0}, w = {0};
    x += first, y += second, z += third, w += fourth;
    uint32_t key = keys[0], other = keys[1];
    for (int round = 0; round < 10; round++, key += 0x9e3779b9u, other += 0xbb67ae85u) {
        Bits x_high, z_high;
        const Bits x_low = times(x, 0xd2511f53u, &x_high), z_low = times(z, 0xcd9e8d57u, &z_high);
        x = z_high ^ y ^ key;
        z = x_high ^ w ^ other;
        y = z_low;
        w = x_low;
    }
    words[0] = x, words[1] = y, words[2] = z, words[3] = w;
}

/* Of such counters DECISIONS each: all ones where it is kept. */
static inline void decisions(const Dropout *it, uint32_t first, uint32_t second, uint32_t third, uint32_t fourth,
                             Integers kept[DECISIONS]) {
    Bits words[4];
    random_words(it->key, first, second, third, fourth, words);
    for (int i = 0; i < DECISIONS; i++)
        kept[i] = (Integers)((words[i / 2] >> (i % 2 * 16) & 0xffff) >= it->below);
}

#endif
