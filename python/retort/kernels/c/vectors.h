/* What the kernels over rows share: 16 numbers at a time, whatever registers a processor has, and their sum. */

#ifndef RETORT_VECTORS_H
#define RETORT_VECTORS_H

#include <stdint.h>
#include <string.h>

/* As many partial sums as a row has, on every processor. */
enum { PARTIAL = 16 };
typedef float Partial __attribute__((vector_size(4 * PARTIAL)));
typedef int32_t Integers __attribute__((vector_size(4 * PARTIAL)));

static inline int64_t least(int64_t one, int64_t other) { return one < other ? one : other; }

static inline Partial all(float one) {
    Partial to;
    for (int lane = 0; lane < PARTIAL; lane++) to[lane] = one;
    return to;
}

/* The next numbers of a row, with others beyond its end. */
static inline Partial load_or(const float *from, int64_t count, Partial to) {
    if (count >= PARTIAL)
        memcpy(&to, from, sizeof to);
    else
        memcpy(&to, from, (size_t)count * sizeof *from);
    return to;
}

/* The next numbers of a row, with zeros beyond its end. */
static inline Partial load_some(const float *from, int64_t count) { return load_or(from, count, (Partial){0}); }

static inline void store_some(float *to, Partial from, int64_t count) {
    if (count >= PARTIAL)
        memcpy(to, &from, sizeof from);
    else
        memcpy(to, &from, (size_t)count * sizeof *to);
}

/* Of numbers beyond the end of a row, zeros. */
static inline Partial only(Partial from, int64_t count) {
    if (count >= PARTIAL) return from;
    Partial to = {0};
    memcpy(&to, &from, (size_t)count * sizeof(float));
    return to;
}

static inline Partial fused(Partial a, Partial b, Partial c) { return __builtin_elementwise_fma(a, b, c); }

static inline Integers as_integers(Partial from) { return (Integers)from; }
static inline Partial as_floats(Integers from) { return (Partial)from; }

/* Of each lane one or the other; a comparison's result is all ones or none. */
static inline Partial choose(Integers chosen, Partial one, Partial other) {
    return as_floats((chosen & as_integers(one)) | (~chosen & as_integers(other)));
}

static inline Partial magnitude(Partial x) { return as_floats(as_integers(x) & 0x7fffffff); }

/* A number that is not negative, with the sign of another. */
static inline Partial with_sign_of(Partial x, Partial magnitude) {
    return as_floats(as_integers(magnitude) | (as_integers(x) & (int32_t)0x80000000));
}

/* The sum of all: halves are added to each other until one number is left. */
static inline float total(Partial from) {
    float sums[PARTIAL];
    memcpy(sums, &from, sizeof sums);
    for (int half = PARTIAL / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++) sums[lane] += sums[lane + half];
    return sums[0];
}

#endif
