/* In-order dual issue: up to two instructions a cycle, of them one access to memory, one branch and one multiplication.
 * Two NEON instructions pair if they need no more than the two halves together, and the younger is not of 128 bits.
 */
#include <string.h>

#include "issue.h"

struct core {
    int ready[REGISTERS];              /* the cycle from which a register can be read */
    int issued[REGISTERS];             /* the cycle in which the instruction that writes it was issued */
    int sum_ready[REGISTERS];          /* the cycle from which the next sum of its kind can take it */
    enum accumulation summed[REGISTERS];
    int cycle;
    int taken, halves;                 /* what was issued in this cycle, and NEON's halves of it */
    bool memory, branch, multiplier;
};

static void advance(struct core *core)
{
    core->cycle++;
    core->taken = core->halves = 0;
    core->memory = core->branch = core->multiplier = false;
}

static void wait_until(struct core *core, int cycle)
{
    while (core->cycle < cycle) advance(core);
}

static void wait_for_sources(struct core *core, const struct operation *op)
{
    for (int i = 0; i < op->source_count; i++) wait_until(core, core->ready[op->sources[i]]);
    if (op->accumulator != NO_REGISTER) {
        bool early = core->summed[op->accumulator] == op->accumulation;
        wait_until(core, early ? core->sum_ready[op->accumulator] : core->ready[op->accumulator]);
    }
    /* The half that stays is read late: it need not be there yet, only be on its way. */
    if (op->merged != NO_REGISTER) wait_until(core, core->issued[op->merged] + 1);
}

static bool fits(const struct core *core, const struct operation *op)
{
    return core->taken < 2 && core->halves + op->halves <= 2 && !(op->memory && core->memory)
        && !(op->branch && core->branch) && !(op->multiplier && core->multiplier) && !(op->leads && core->taken);
}

static void write_results(struct core *core, const struct operation *op)
{
    for (int i = 0; i < op->result_count; i++) {
        int number = op->results[i], ready = core->cycle + op->latencies[i];
        if (number == op->merged && core->ready[number] > ready) ready = core->ready[number];
        core->ready[number] = ready;
        core->issued[number] = core->cycle;
        core->summed[number] = NO_ACCUMULATION;
    }
    if (op->accumulator != NO_REGISTER) {
        core->summed[op->accumulator] = op->accumulation;
        core->sum_ready[op->accumulator] = core->cycle + (op->accumulation == FLOAT_SUM ? 4 : 1);
    }
}

static void occupy(struct core *core, const struct operation *op)
{
    core->taken++;
    core->halves += op->halves;
    core->memory |= op->memory;
    core->branch |= op->branch;
    core->multiplier |= op->multiplier;
    if (op->issue_cycles == 1) return;
    /* In its last cycle another may issue at its side. */
    wait_until(core, core->cycle + op->issue_cycles - 1);
    core->taken = 1;
    core->halves = op->halves;
    core->memory = op->memory;
}

static void issue(struct core *core, const struct operation *ops, int count)
{
    for (int i = 0; i < count; i++) {
        wait_for_sources(core, &ops[i]);
        while (!fits(core, &ops[i])) advance(core);
        write_results(core, &ops[i]);
        occupy(core, &ops[i]);
    }
}

/* Half a cycle for each instruction in a cycle that is not full yet. */
static double elapsed(const struct core *core) { return core->cycle + core->taken * 0.5; }

static int64_t sign_extended(uint32_t word, int lowest, int count)
{
    return (int32_t)(word << (32 - lowest - count)) >> (32 - count);
}

/* Returns by how many instructions a direct branch jumps; 0: it is none. */
static int64_t branch_offset(uint32_t word)
{
    if (matches(word, 0xff000010, 0x54000000) || matches(word, 0x7e000000, 0x34000000))   /* B.cond, CBZ */
        return sign_extended(word, 5, 19);
    if (matches(word, 0x7e000000, 0x36000000)) return sign_extended(word, 5, 14);          /* TBZ */
    if (matches(word, 0xfc000000, 0x14000000)) return sign_extended(word, 0, 26);          /* B */
    return 0;
}

double price(const uint32_t *words, const struct operation *ops, int count)
{
    enum { ROUNDS_BEFORE = 3, ROUNDS = 4 };
    struct core core = { 0 };
    for (int i = 0; i < REGISTERS; i++) core.issued[i] = -9;
    issue(&core, ops, count);
    bool is_loop = branch_offset(words[count - 1]) == -(int64_t)(count - 1) && count > 1;
    if (!is_loop) return elapsed(&core);
    for (int i = 0; i < ROUNDS_BEFORE; i++) issue(&core, ops, count);
    double before = elapsed(&core);
    for (int i = 0; i < ROUNDS; i++) issue(&core, ops, count);
    return (elapsed(&core) - before) / ROUNDS;
}
