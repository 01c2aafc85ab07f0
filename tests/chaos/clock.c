/* A wall clock that can be set, for one process: LD_PRELOAD this, and CHAOS_CLOCK names a file of 8 bytes, the offset in seconds.

   Whoever waits until a moment of the wall clock waits until the true one: a wait that has begun does not change its length. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/* Deadlines of the wall clock are above this, those of a clock that began with the machine are below. */
#define WALL_S_MIN 1000000000

static volatile int64_t *offset_s;

__attribute__((constructor)) static void open_offset(void) {
    const char *name = getenv("CHAOS_CLOCK");
    int file = name ? open(name, O_RDONLY) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) offset_s = page;
    close(file);
}

static int64_t offset(void) { return offset_s ? *offset_s : 0; }

static struct timespec true_time(const struct timespec *deadline) {
    struct timespec real = *deadline;
    if (real.tv_sec > WALL_S_MIN) real.tv_sec -= offset();
    return real;
}

/* glibc has condition variables of two forms; the old one must not be found. */
static void *next(const char *name) {
    static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.30", "GLIBC_2.17", "GLIBC_2.3.2"};
    for (unsigned i = 0; i < sizeof versions / sizeof *versions; i++) {
        void *found = dlvsym(RTLD_NEXT, name, versions[i]);
        if (found) return found;
    }
    return dlsym(RTLD_NEXT, name);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))next(#name)

int clock_gettime(clockid_t id, struct timespec *now) {
    REAL(clock_gettime);
    int answer = real(id, now);
    if (answer == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return answer;
}

int gettimeofday(struct timeval *now, void *zone) {
    REAL(gettimeofday);
    int answer = real(now, zone);
    if (answer == 0) now->tv_sec += offset();
    return answer;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}

time_t time(time_t *now) {
    struct timespec spec;
    clock_gettime(CLOCK_REALTIME, &spec);
    if (now) *now = spec.tv_sec;
    return spec.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
    REAL(pthread_cond_timedwait);
    struct timespec deadline = true_time(until);
    return real(cond, mutex, &deadline);
}

int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t id, const struct timespec *until) {
    REAL(pthread_cond_clockwait);
    struct timespec deadline = true_time(until);
    return real(cond, mutex, id, &deadline);
}

int cnd_timedwait(cnd_t *cond, mtx_t *mutex, const struct timespec *until) {
    REAL(cnd_timedwait);
    struct timespec deadline = true_time(until);
    return real(cond, mutex, &deadline);
}

int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until) {
    REAL(pthread_mutex_timedlock);
    struct timespec deadline = true_time(until);
    return real(mutex, &deadline);
}

int sem_timedwait(sem_t *sem, const struct timespec *until) {
    REAL(sem_timedwait);
    struct timespec deadline = true_time(until);
    return real(sem, &deadline);
}

int sem_clockwait(sem_t *sem, clockid_t id, const struct timespec *until) {
    REAL(sem_clockwait);
    struct timespec deadline = true_time(until);
    return real(sem, id, &deadline);
}
