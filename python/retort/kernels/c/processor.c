/* What this processor can do, asked by code that every processor of its architecture can run. */

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>

/* The registers that the operating system saves: https://www.intel.com/sdm, volume 1, section 13.3. */
static uint64_t saved(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}
#endif

/* 0 where none of the kernels can run; otherwise the number of the best instruction set: 1 for AVX2 with FMA, or NEON;
 * 2 for AVX-512 as x86-64-v4 has it; 3 for that with products of int8 (VNNI); 4 with those of bfloat16, too. */
int retort_processor(void) {
#if defined(__x86_64__)
    const unsigned fma = bit_FMA | bit_OSXSAVE | bit_AVX, ymm = 0x6, zmm = 0xe6;
    const unsigned v4 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & fma) != fma || (saved() & ymm) != ymm) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2)) return 0;
    if ((b & v4) != v4 || (saved() & zmm) != zmm) return 1;
    if (!(c & bit_AVX512VNNI)) return 2;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & bit_AVX512BF16) ? 4 : 3;
#else
    return 1;
#endif
}
