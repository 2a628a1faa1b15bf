/* Work in parts, by this thread and others; which thread does which part is not in the result. */

#ifndef RETORT_THREADS_H
#define RETORT_THREADS_H

#include <stdint.h>

/* Does part(context, 0) to part(context, parts - 1), each once, and returns when all are done. Rounding is to nearest
 * and denormals are numbers in every part, whatever the caller's thread has set. */
void retort_in_parts(void (*part)(void *, int64_t), void *context, int64_t parts, int threads);

#endif
