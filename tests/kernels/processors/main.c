/* The battery, by each instruction set that this processor has; with an argument, the edges of what is flushed. */

int retort_processor(void);

#if defined(__x86_64__)
void retort_battery_avx2(void);
void retort_battery_avx512(void);
void retort_battery_avx512_vnni(void);
void retort_battery_avx512_bf16(void);
void retort_edges_avx2(void);
void retort_edges_avx512(void);
void retort_edges_avx512_vnni(void);
void retort_edges_avx512_bf16(void);
static void (*const BATTERIES[])(void) = {retort_battery_avx2, retort_battery_avx512, retort_battery_avx512_vnni, retort_battery_avx512_bf16};
static void (*const EDGES[])(void) = {retort_edges_avx2, retort_edges_avx512, retort_edges_avx512_vnni, retort_edges_avx512_bf16};
#else
void retort_battery_neon(void);
void retort_edges_neon(void);
static void (*const BATTERIES[])(void) = {retort_battery_neon};
static void (*const EDGES[])(void) = {retort_edges_neon};
#endif

int main(int count, char **arguments) {
    (void)arguments;
    const int best = retort_processor();
    for (int set = 0; set < best; set++) (count > 1 ? EDGES : BATTERIES)[set]();
    return best ? 0 : 2;
}
