/* The pool of threads: made when they are first asked for. Between works they look for the next one for a moment,
 * and then sleep. */

#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>

/* LOOKS is as often as `retort/__init__.py` has OpenMP's threads look, for the same reason: whoever looks longer takes
 * a busy machine's time from the very thread that is waited for. */
enum { MOST = 255, LOOKS = 5000 };

static pthread_mutex_t in_use = PTHREAD_MUTEX_INITIALIZER; /* one work at a time */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;  /* of what follows */
static pthread_cond_t begun = PTHREAD_COND_INITIALIZER, done = PTHREAD_COND_INITIALIZER;
static int workers, wanted;
static void (*the_part)(void *, int64_t);
static void *the_context;
static int64_t the_parts;
/* Written under the guard; whoever looks for a change reads them without. */
static atomic_uint_fast64_t work;
static atomic_int busy;
static atomic_int_fast64_t next;

/* The control word of floating point as a new process has it, and back. */
#if defined(__x86_64__)
static uint64_t as_new(void) {
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(0x1f80);
    return before;
}
static void back(uint64_t before) { __builtin_ia32_ldmxcsr((unsigned)before); }
static void pause(void) { __builtin_ia32_pause(); }
#else
static uint64_t as_new(void) {
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
    return before;
}
static void back(uint64_t before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
static void pause(void) { __asm__ volatile("yield"); }
#endif

static void take_parts(void (*part)(void *, int64_t), void *context, int64_t parts) {
    const uint64_t before = as_new();
    for (int64_t number; (number = atomic_fetch_add(&next, 1)) < parts;) part(context, number);
    back(before);
}

static void *worker(void *unused) {
    (void)unused;
    uint64_t seen = 0;
    for (;;) {
        for (int look = 0; atomic_load(&work) == seen && look < LOOKS; look++) pause();
        pthread_mutex_lock(&guard);
        while (atomic_load(&work) == seen || wanted == 0) {
            seen = atomic_load(&work);
            pthread_cond_wait(&begun, &guard);
        }
        seen = atomic_load(&work);
        wanted--;
        void (*part)(void *, int64_t) = the_part;
        void *context = the_context;
        const int64_t parts = the_parts;
        pthread_mutex_unlock(&guard);
        take_parts(part, context, parts);
        pthread_mutex_lock(&guard);
        if (atomic_fetch_sub(&busy, 1) == 1) pthread_cond_signal(&done);
        pthread_mutex_unlock(&guard);
    }
    return 0;
}

/* A process that was forked has the thread that forked alone. */
static void forked(void) {
    pthread_mutex_init(&in_use, 0);
    pthread_mutex_init(&guard, 0);
    pthread_cond_init(&begun, 0);
    pthread_cond_init(&done, 0);
    workers = wanted = 0;
    atomic_store(&busy, 0);
}

static void prepare(void) { pthread_atfork(0, 0, forked); }

static void start_workers(int count) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
    for (; workers < count && workers < MOST; workers++) {
        pthread_t thread;
        if (pthread_create(&thread, 0, worker, 0)) return; /* those that there are do it */
        pthread_detach(thread);
    }
}

void retort_in_parts(void (*part)(void *, int64_t), void *context, int64_t parts, int threads) {
    if (threads > parts) threads = (int)parts;
    if (threads <= 1 || pthread_mutex_trylock(&in_use)) {
        const uint64_t before = as_new();
        for (int64_t number = 0; number < parts; number++) part(context, number);
        back(before);
        return;
    }
    pthread_mutex_lock(&guard);
    start_workers(threads - 1);
    the_part = part, the_context = context, the_parts = parts;
    atomic_store(&next, 0);
    wanted = threads - 1 < workers ? threads - 1 : workers;
    atomic_store(&busy, wanted);
    atomic_fetch_add(&work, 1);
    pthread_cond_broadcast(&begun);
    pthread_mutex_unlock(&guard);
    take_parts(part, context, parts);
    pthread_mutex_lock(&guard);
    atomic_fetch_sub(&busy, wanted); /* nobody needs those that have not woken yet */
    wanted = 0;
    pthread_mutex_unlock(&guard);
    for (int look = 0; atomic_load(&busy) && look < LOOKS; look++) pause();
    pthread_mutex_lock(&guard);
    while (atomic_load(&busy)) pthread_cond_wait(&done, &guard);
    pthread_mutex_unlock(&guard);
    pthread_mutex_unlock(&in_use);
}
