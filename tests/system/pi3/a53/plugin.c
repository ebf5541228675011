/* A plugin of QEMU's user mode: counts the A64 instructions that a program executes, prices each block of them with
 * the issue model, and sends every access to memory through simulated caches.
 *
 * The program marks what is to be counted with a system call that does nothing else: getppid with the argument 0
 * clears all counters; getppid with any other number appends a line of JSON to the file of the option `out`.
 * The counters are exact as long as one thread works.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "caches.h"
#include "issue.h"
#include "operation.h"
#include "qemu_plugin.h"

QEMU_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;
QEMU_EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

enum { BUCKETS = 1 << 16, GETPPID = 173 };

struct block {
    uint64_t start, times;
    double cycles;
    int length;
    uint32_t hash;
    uint16_t kinds[KINDS];
    struct block *next;
};

static struct block *blocks[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *out;

/* Returns the FNV-1a hash of a block: code that is made at run time may replace other code at the same address. */
static uint32_t hash_of(const uint32_t *words, int count)
{
    uint32_t hash = 2166136261u;
    for (int i = 0; i < count; i++) hash = (hash ^ words[i]) * 16777619u;
    return hash;
}

static struct block *new_block(const uint32_t *words, const struct operation *ops, int count)
{
    struct block *made = calloc(1, sizeof *made);
    if (!made) abort();
    made->length = count;
    made->cycles = price(words, ops, count);
    for (int i = 0; i < count; i++) made->kinds[ops[i].kind]++;
    return made;
}

/* Returns the counter of a block; QEMU may translate the same one several times. */
static struct block *find_block(uint64_t start, const uint32_t *words, const struct operation *ops, int count)
{
    uint32_t hash = hash_of(words, count);
    struct block **bucket = &blocks[(start >> 2 ^ hash) % BUCKETS];
    for (struct block *each = *bucket; each; each = each->next)
        if (each->start == start && each->length == count && each->hash == hash) return each;
    struct block *made = new_block(words, ops, count);
    made->start = start;
    made->hash = hash;
    made->next = *bucket;
    return *bucket = made;
}

static void on_access(unsigned cpu, uint32_t info, uint64_t address, void *data)
{
    (void)cpu, (void)data;
    access_memory(address, 1u << qemu_plugin_mem_size_shift(info), qemu_plugin_mem_is_store(info));
}

static void on_translate(uint64_t id, struct qemu_plugin_tb *translated)
{
    static uint32_t words[LONGEST_BLOCK];            /* both under the lock: QEMU gives threads small stacks */
    static struct operation ops[LONGEST_BLOCK];
    int count = qemu_plugin_tb_n_insns(translated);
    (void)id;
    if (count > LONGEST_BLOCK) abort();
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(translated, i);
        memcpy(&words[i], qemu_plugin_insn_data(instruction), sizeof words[i]);
        decode(words[i], &ops[i]);
        if (ops[i].memory)
            qemu_plugin_register_vcpu_mem_cb(instruction, on_access, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
    }
    struct block *block = find_block(qemu_plugin_tb_vaddr(translated), words, ops, count);
    pthread_mutex_unlock(&lock);
    qemu_plugin_register_vcpu_tb_exec_inline(translated, QEMU_PLUGIN_INLINE_ADD_U64, &block->times, 1);
}

static void report(uint64_t tag)
{
    uint64_t instructions = 0, kinds[KINDS] = { 0 };
    double cycles = 0;
    for (int i = 0; i < BUCKETS; i++) {
        for (const struct block *block = blocks[i]; block; block = block->next) {
            instructions += block->length * block->times;
            cycles += block->cycles * block->times;
            for (int kind = 0; kind < KINDS; kind++) kinds[kind] += block->kinds[kind] * block->times;
        }
    }
    FILE *file = fopen(out, "a");
    if (!file) {
        perror(out);
        abort();
    }
    struct traffic sum = traffic();
    fprintf(file, "{\"tag\": %" PRIu64 ", \"instructions\": %" PRIu64 ", \"cycles\": %.0f", tag, instructions, cycles);
    fprintf(file, ", \"level1_misses\": %" PRIu64 ", \"fills\": %" PRIu64 ", \"writebacks\": %" PRIu64,
            sum.level1_misses, sum.fills, sum.writebacks);
    for (int kind = 0; kind < KINDS; kind++) fprintf(file, ", \"%s\": %" PRIu64, KIND_NAMES[kind], kinds[kind]);
    fprintf(file, "}\n");
    fclose(file);
}

static void clear(void)
{
    for (int i = 0; i < BUCKETS; i++)
        for (struct block *block = blocks[i]; block; block = block->next) block->times = 0;
    reset_traffic();
}

static void on_syscall(uint64_t id, unsigned cpu, int64_t number, uint64_t tag, uint64_t a2, uint64_t a3, uint64_t a4,
                       uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != GETPPID) return;
    pthread_mutex_lock(&lock);
    if (tag) report(tag);
    clear();
    pthread_mutex_unlock(&lock);
}

QEMU_EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4)) out = strdup(argv[i] + 4);
    if (!out) {
        fprintf(stderr, "plugin: the option out=FILE is missing\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
