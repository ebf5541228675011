/* An A64 instruction as the Cortex-A53's issue stage sees it.
 *
 * The timing is that of three sources, which agree where they overlap:
 *   LLVM, llvm/lib/Target/AArch64/AArch64SchedA53.td: latencies, and which unit an instruction occupies;
 *   daniestevez/qsdr, qsdr-benchmarks: cycles of NEON loops, read from the cycle counter of an A53;
 *   Arm DDI 0500, Cortex-A53 Technical Reference Manual: dual issue, in order; sizes of the caches.
 * Instructions are decoded by the tables of Arm DDI 0487, section C4.1, "A64 instruction set encoding".
 */
#ifndef OPERATION_H
#define OPERATION_H

#include <stdbool.h>
#include <stdint.h>

enum kind {
    INTEGER, MULTIPLY, BRANCH, LOAD, STORE, LOAD_VECTOR, STORE_VECTOR,
    FMA_4,             /* four float32 multiply-accumulates */
    FMA_2, FMA_1, FLOAT,
    MAC_8_TO_16,       /* smlal.8h and the like: eight products of 8-bit integers */
    MAC_16_TO_32,      /* smlal.4s and the like: four products of 16-bit integers */
    MULTIPLY_VECTOR, ADD_PAIRS, DOT_PRODUCT, INSERT, PERMUTE, VECTOR, VECTOR_TO_INTEGER, OTHER, KINDS
};

extern const char *const KIND_NAMES[KINDS];

/* Numbers of the registers: X0 to X30, the flags, V0 to V31. */
enum { ZERO_REGISTER = 31, FLAGS = 32, V0 = 40, REGISTERS = 72, NO_REGISTER = -1 };

/* An accumulation takes its addend later than its factors, if the instruction before was of the same kind. */
enum accumulation { NO_ACCUMULATION, FLOAT_SUM, INTEGER_SUM, DOT_SUM, PAIRS_SUM };

struct operation {
    enum kind kind;
    int sources[8], source_count;
    int results[6], latencies[6], result_count;
    int merged;                /* the V register of which the other half stays, or NO_REGISTER */
    int accumulator;           /* the V register that is added to, or NO_REGISTER */
    enum accumulation accumulation;
    int halves;                /* of NEON's two 64-bit halves, how many it occupies */
    int issue_cycles;          /* how long nothing issues after it */
    bool memory, branch, multiplier;
    bool leads;                /* it issues only as the older instruction of a pair: 128-bit NEON */
};

void decode(uint32_t word, struct operation *op);

/* Used by the files that decode parts of the instruction set. */
void decode_memory(uint32_t word, struct operation *op);
void decode_vector(uint32_t word, struct operation *op);
void read_register(struct operation *op, int number);
void read_vector(struct operation *op, int number);
void write_register(struct operation *op, int number, int latency);
void write_vector(struct operation *op, int number, int latency);

/* Returns `count` bits of an instruction, from bit `lowest` on. */
static inline int bits(uint32_t word, int lowest, int count) { return word >> lowest & ((1u << count) - 1); }

static inline bool matches(uint32_t word, uint32_t mask, uint32_t value) { return (word & mask) == value; }

#endif
