/* Sums over logical shards along the canonical tree (docs/arithmetic.md, "Shards"): neighbours are added, then pairs of
 * neighbours, and so on. Sums that wait for what is on their right lie on a stack. */

#ifndef RETORT_SHARDS_H
#define RETORT_SHARDS_H

#include <stdint.h>

/* So many sums are on the stack at most, of up to 256 shards. */
enum { WAITING = 9 };

/* How often the last two of so many waiting sums become one, once that of shard `number` of `count` is there. */
static inline int64_t additions(int64_t number, int64_t count, int64_t waiting) {
    return number + 1 == count ? waiting - 1 : __builtin_ctzll(~(uint64_t)number);
}

#endif
