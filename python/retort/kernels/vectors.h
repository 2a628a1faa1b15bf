/* What the kernels over rows share: 16 numbers at a time, whatever registers a processor has, and their sum. */

#ifndef RETORT_VECTORS_H
#define RETORT_VECTORS_H

#include <stdint.h>
#include <string.h>

#define JOIN_(name, suffix) retort_##name##_##suffix
#define JOIN(name, suffix) JOIN_(name, suffix)
/* The name of a function as compiled for one instruction set. */
#define EXPORT(name) JOIN(name, SUFFIX)

/* As many partial sums as a row has, on every processor. */
enum { PARTIAL = 16 };
typedef float Partial __attribute__((vector_size(4 * PARTIAL)));

static inline int64_t least(int64_t one, int64_t other) { return one < other ? one : other; }

/* The next numbers of a row, with zeros beyond its end. */
static inline Partial load_some(const float *from, int64_t count) {
    Partial to = {0};
    if (count >= PARTIAL)
        memcpy(&to, from, sizeof to);
    else
        memcpy(&to, from, (size_t)count * sizeof *from);
    return to;
}

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

static inline Partial all(float one) {
    Partial to;
    for (int lane = 0; lane < PARTIAL; lane++) to[lane] = one;
    return to;
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
