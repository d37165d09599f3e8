/* Counts the calls to the C library's allocator by the name of the calling thread. Loaded before pg-camera by
 * tests/camera/endurance; `kill -USR2` makes it write one line a thread to the file named by PG_ALLOCATIONS. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MOST 256

struct thread {
    char name[16];
    atomic_ulong taken, freed;
};

static struct thread threads[MOST];
static atomic_int n_threads;
static _Thread_local struct thread *own __attribute__((tls_model("initial-exec")));

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static struct thread *me(void) {
    if (!own) {
        int i = atomic_fetch_add(&n_threads, 1);
        own = &threads[i < MOST ? i : MOST - 1];
    }
    return own;
}

void *malloc(size_t n) {
    atomic_fetch_add(&me()->taken, 1);
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size) {
    atomic_fetch_add(&me()->taken, 1);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n) {
    atomic_fetch_add(&me()->taken, 1);
    return __libc_realloc(p, n);
}

void *memalign(size_t to, size_t n) {
    atomic_fetch_add(&me()->taken, 1);
    return __libc_memalign(to, n);
}

void *aligned_alloc(size_t to, size_t n) { return memalign(to, n); }

int posix_memalign(void **p, size_t to, size_t n) {
    *p = memalign(to, n);
    return *p ? 0 : 12;
}

void free(void *p) {
    if (p) {
        atomic_fetch_add(&me()->freed, 1);
        /* The name is set after the thread's first allocation: looked up late. */
        if (!own->name[0])
            prctl(PR_GET_NAME, own->name);
    }
    __libc_free(p);
}

static void put(int file, const char *text) {
    if (write(file, text, strlen(text)) < 0)
        _exit(99);
}

static void put_number(int file, unsigned long n) {
    char text[24], *p = text + sizeof text;
    *--p = 0;
    do
        *--p = '0' + n % 10;
    while (n /= 10);
    put(file, p);
}

/* Only what a signal handler may do. */
static void report(int signal) {
    (void)signal;
    const char *path = getenv("PG_ALLOCATIONS");
    int file = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    if (file < 0)
        return;
    int n = atomic_load(&n_threads);
    for (int i = 0; i < (n < MOST ? n : MOST); i++) {
        put(file, threads[i].name);
        put(file, "\t");
        put_number(file, atomic_load(&threads[i].taken));
        put(file, "\t");
        put_number(file, atomic_load(&threads[i].freed));
        put(file, "\n");
    }
    put(file, "end\n");
    close(file);
}

__attribute__((constructor)) static void start(void) { signal(SIGUSR2, report); }
