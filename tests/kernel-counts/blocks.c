// A plugin of QEMU (interface version 1) that counts how often each block of a program runs.
//
// qemu-aarch64 -plugin blocks.so,out=FILE PROGRAM writes FILE at the program's end: a line "start ADDRESS" with the
// address of the program's first code, then "ADDRESS INSTRUCTIONS TIMES" of every translated block. Exact for one
// thread: with more, additions could be lost. Debian ships no qemu-plugin.h, so what is used of it is declared here.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
enum { ADD_U64 };
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*translated)(uint64_t id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *to, uint64_t what);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*ended)(uint64_t id, void *), void *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_start_code(void);

EXPORT int qemu_plugin_version = 1;

static struct block {
    struct block *before;
    uint64_t address, instructions, times;
} *last;
static FILE *out;

static void translated(uint64_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    struct block *b = calloc(1, sizeof *b);
    if (!b) abort();
    *b = (struct block){last, qemu_plugin_tb_vaddr(tb), qemu_plugin_tb_n_insns(tb), 0};
    last = b;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &b->times, 1);
}

static void ended(uint64_t id, void *nothing) {
    (void)id, (void)nothing;
    fprintf(out, "start %" PRIx64 "\n", qemu_plugin_start_code());
    for (struct block *b = last; b; b = b->before)
        fprintf(out, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", b->address, b->instructions, b->times);
    if (fclose(out)) abort();
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int n, char **arguments) {
    (void)info;
    if (n != 1 || strncmp(arguments[0], "out=", 4) || !(out = fopen(arguments[0] + 4, "w"))) {
        fprintf(stderr, "blocks.so: give it out=FILE, a file that can be written\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
