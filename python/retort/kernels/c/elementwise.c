/* What is done to each number by itself (docs/arithmetic.md, "Functions" and "AdamW"). */

#include "functions.h"
#include "kernels.h"
#include "threads.h"

enum { EACH = 4096 };

#define HALF_ROOT_2 0x1.6a09e6p-1f   /* sqrt(1/2) */
#define NORMAL_AT_0 0x1.988454p-2f   /* 1 / sqrt(2 pi) */
#define ROOT_2_BY_PI 0x1.988454p-1f  /* sqrt(2 / pi) */
#define CUBIC 0x1.6e4e26p-5f         /* 0.044715 */

/* The order is that of `retort.kernels.elementwise.FUNCTIONS`. */
enum { EXP, LOG, ERF, TANH, GELU, GELU_TANH, SILU };

static inline Partial normal_below(Partial x) { return fused(error_function(x * HALF_ROOT_2), all(0.5f), all(0.5f)); }
static inline Partial inner(Partial x) { return ROOT_2_BY_PI * fused(CUBIC * (x * x), x, x); }
static inline Partial sigmoid(Partial x) { return 1 / (1 + exponential(-x)); }

static inline __attribute__((always_inline)) Partial value(int function, Partial x) {
    switch (function) {
    case EXP: return exponential(x);
    case LOG: return logarithm(x);
    case ERF: return error_function(x);
    case TANH: return hyperbolic_tangent(x);
    case GELU: return x * normal_below(x);
    case GELU_TANH: return x * fused(hyperbolic_tangent(inner(x)), all(0.5f), all(0.5f));
    default: return x * sigmoid(x);
    }
}

static inline __attribute__((always_inline)) Partial slope(int function, Partial x) {
    if (function == GELU) return fused(x, NORMAL_AT_0 * exponential(-0.5f * (x * x)), normal_below(x));
    if (function == GELU_TANH) {
        const Partial t = hyperbolic_tangent(inner(x));
        const Partial by_x = ROOT_2_BY_PI * fused(3 * CUBIC * x, x, all(1));
        return fused(0.5f * x * fused(-t, t, all(1)), by_x, fused(t, all(0.5f), all(0.5f)));
    }
    const Partial s = sigmoid(x);
    return fused(x * s, 1 - s, s);
}

typedef struct {
    int64_t n;
    const float *x, *above;
    float *result;
} Elementwise;

/* One loop a function, so that none asks for each number which it is. */
#define OF_EACH(name, function, made)                                                    \
    static void name(void *context, int64_t number) {                                    \
        const Elementwise *it = context;                                                 \
        const int64_t end = least(it->n, (number + 1) * EACH);                           \
        for (int64_t i = number * EACH; i < end; i += PARTIAL) {                         \
            const Partial x = load_some(it->x + i, end - i);                             \
            store_some(it->result + i, made(function, x), end - i);                      \
        }                                                                                \
    }
#define ALONG_SLOPE(name, function)                                                      \
    static void name(void *context, int64_t number) {                                    \
        const Elementwise *it = context;                                                 \
        const int64_t end = least(it->n, (number + 1) * EACH);                           \
        for (int64_t i = number * EACH; i < end; i += PARTIAL) {                         \
            const Partial x = load_some(it->x + i, end - i);                             \
            const Partial above = load_some(it->above + i, end - i);                     \
            store_some(it->result + i, above * slope(function, x), end - i);             \
        }                                                                                \
    }
OF_EACH(exp_of, EXP, value)
OF_EACH(log_of, LOG, value)
OF_EACH(erf_of, ERF, value)
OF_EACH(tanh_of, TANH, value)
OF_EACH(gelu_of, GELU, value)
OF_EACH(gelu_tanh_of, GELU_TANH, value)
OF_EACH(silu_of, SILU, value)
ALONG_SLOPE(gelu_slope, GELU)
ALONG_SLOPE(gelu_tanh_slope, GELU_TANH)
ALONG_SLOPE(silu_slope, SILU)

typedef void Part(void *, int64_t);
static Part *const VALUES[] = {exp_of, log_of, erf_of, tanh_of, gelu_of, gelu_tanh_of, silu_of};
static Part *const SLOPES[] = {0, 0, 0, 0, gelu_slope, gelu_tanh_slope, silu_slope};

void EXPORT(apply)(int function, int64_t n, const float *x, float *result, int threads) {
    Elementwise it = {.n = n, .x = x, .result = result};
    retort_in_parts(VALUES[function], &it, (n + EACH - 1) / EACH, threads);
}

/* The gradient by x, of `above`, that by the result; of GELU and SiLU. */
void EXPORT(apply_gradient)(int function, int64_t n, const float *above, const float *x, float *result, int threads) {
    Elementwise it = {.n = n, .x = x, .above = above, .result = result};
    retort_in_parts(SLOPES[function], &it, (n + EACH - 1) / EACH, threads);
}

/* Numbers that one call of `decisions` decides. */
enum { DECIDED = DECISIONS * PARTIAL };

typedef struct {
    int64_t n, first;
    const float *x;
    float *result;
    Dropout dropout;
} Dropped;

static void drop(void *context, int64_t number) {
    const Dropped *it = context;
    const int64_t begin = (it->first / EACH + number) * EACH, last = it->first + it->n;
    for (int64_t group = begin; group < least(last, begin + EACH); group += DECIDED) {
        const uint64_t counter = (uint64_t)(group / DECISIONS);
        Integers kept[DECISIONS];
        decisions(&it->dropout, (uint32_t)counter, (uint32_t)(counter >> 32), 0, 0, kept);
        if (group + DECIDED <= it->first) continue;
        float one[DECIDED] = {0}, made[DECIDED];
        const int64_t from = group < it->first ? it->first : group, end = least(last, group + DECIDED);
        memcpy(one + (from - group), it->x + (from - it->first), (size_t)(end - from) * sizeof *one);
        for (int i = 0; i < DECISIONS; i++) {
            Partial x;
            memcpy(&x, one + i * PARTIAL, sizeof x);
            x = choose(kept[i], x * it->dropout.scale, all(0));
            memcpy(made + i * PARTIAL, &x, sizeof x);
        }
        memcpy(it->result + (from - it->first), made + (from - group), (size_t)(end - from) * sizeof *one);
    }
}

/* Elements from `first` on, which number `n`: dropped, or kept and scaled. */
void EXPORT(dropout)(int64_t n, int64_t first, const float *x, int64_t key, int below, float scale, float *result,
                     int threads) {
    Dropped it = {n, first, x, result, {{(uint32_t)key, (uint32_t)(key >> 32)}, (uint32_t)below, scale}};
    retort_in_parts(drop, &it, (first + n + EACH - 1) / EACH - first / EACH, threads);
}

typedef struct {
    int64_t n;
    uint32_t key[2];
    float *result;
} Drawn;

/* The polar method: points of a square until one is in the circle, which two in eleven are not. */
static void draw(void *context, int64_t number) {
    const Drawn *it = context;
    const int64_t end = least(it->n, (number + 1) * EACH);
    for (int64_t i = number * EACH; i < end; i += PARTIAL) {
        Partial made = {0};
        Integers waiting = made == made, any = waiting;
        for (uint32_t attempt = 0; any[0]; attempt++) {
            Bits words[4];
            random_words(it->key, (uint32_t)i, (uint32_t)((uint64_t)i >> 32), attempt, 0, words);
            const Partial u = __builtin_convertvector((Integers)words[0], Partial) * 0x1p-31f;
            const Partial v = __builtin_convertvector((Integers)words[1], Partial) * 0x1p-31f;
            const Partial s = fused(u, u, v * v);
            const Integers inside = (s > 0) & (s < 1) & waiting;
            made = choose(inside, u * __builtin_elementwise_sqrt(-2 * logarithm(s) / s), made);
            waiting &= ~inside;
            any = waiting;
            for (int half = PARTIAL / 2; half; half /= 2)
                for (int lane = 0; lane < half; lane++) any[lane] |= any[lane + half];
        }
        store_some(it->result + i, made, end - i);
    }
}

/* Normal numbers, of mean 0 and deviation 1. */
void EXPORT(normal)(int64_t n, int64_t key, float *result, int threads) {
    Drawn it = {n, {(uint32_t)key, (uint32_t)(key >> 32)}, result};
    retort_in_parts(draw, &it, (n + EACH - 1) / EACH, threads);
}

typedef struct {
    int64_t n;
    float *weight, *first, *second;
    const float *gradient;
    float factor, decayed, step, by_gradient, kept, by_square, root, epsilon;
} Update;

static void update(void *context, int64_t number) {
    const Update *it = context;
    const int64_t end = least(it->n, (number + 1) * EACH);
    for (int64_t i = number * EACH; i < end; i += PARTIAL) {
        const int64_t count = end - i;
        const Partial g = load_some(it->gradient + i, count) * it->factor;
        Partial m = load_some(it->first + i, count), v = load_some(it->second + i, count);
        m = fused(g - m, all(it->by_gradient), m);
        v = fused(g * it->by_square, g, v * it->kept);
        const Partial deviation = __builtin_elementwise_sqrt(v) / it->root + it->epsilon;
        const Partial weight = load_some(it->weight + i, count) * it->decayed;
        store_some(it->weight + i, fused(m / deviation, all(-it->step), weight), count);
        store_some(it->first + i, m, count);
        store_some(it->second + i, v, count);
    }
}

/* One step of AdamW, in place. */
void EXPORT(adamw)(int64_t n, float *weight, const float *gradient, float *first, float *second, float factor,
                   float decayed, float step, float by_gradient, float kept, float by_square, float root,
                   float epsilon, int threads) {
    Update it = {n, weight, first, second, gradient, factor, decayed, step, by_gradient, kept, by_square, root,
                 epsilon};
    retort_in_parts(update, &it, (n + EACH - 1) / EACH, threads);
}

typedef struct {
    int64_t tokens, heads, half, stride_token, stride_head;
    const float *x, *cosines, *sines;
    const int64_t *positions;
    float sign, *result;
} Rotary;

static void rotate(void *context, int64_t token) {
    const Rotary *it = context;
    const float *cosines = it->cosines + it->positions[token] * it->half;
    const float *sines = it->sines + it->positions[token] * it->half;
    for (int64_t head = 0; head < it->heads; head++) {
        const float *x = it->x + token * it->stride_token + head * it->stride_head;
        float *y = it->result + (token * it->heads + head) * 2 * it->half;
        for (int64_t i = 0; i < it->half; i += PARTIAL) {
            const int64_t count = it->half - i;
            const Partial one = load_some(x + i, count), other = load_some(x + it->half + i, count);
            const Partial c = load_some(cosines + i, count), s = load_some(sines + i, count) * it->sign;
            store_some(y + i, fused(one, c, -(other * s)), count);
            store_some(y + it->half + i, fused(other, c, one * s), count);
        }
    }
}

/* Each half of a head turned by its token's position; the other way with sign -1. */
void EXPORT(rotate)(int64_t tokens, int64_t heads, int64_t half, const float *x, int64_t stride_token,
                    int64_t stride_head, const int64_t *positions, const float *cosines, const float *sines,
                    float sign, float *result, int threads) {
    Rotary it = {tokens, heads, half, stride_token, stride_head, x, cosines, sines, positions, sign, result};
    retort_in_parts(rotate, &it, tokens, threads);
}
