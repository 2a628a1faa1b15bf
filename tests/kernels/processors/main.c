/* The battery, by each instruction set that this processor has. */

int retort_processor(void);

#if defined(__x86_64__)
void retort_battery_avx2(void);
void retort_battery_avx512(void);
void retort_battery_avx512_bf16(void);
static void (*const BATTERIES[])(void) = {retort_battery_avx2, retort_battery_avx512, retort_battery_avx512_bf16};
#else
void retort_battery_neon(void);
static void (*const BATTERIES[])(void) = {retort_battery_neon};
#endif

int main(void) {
    const int best = retort_processor();
    for (int set = 0; set < best; set++) BATTERIES[set]();
    return best ? 0 : 2;
}
