/* Decodes branches and what works on general registers; passes the rest to decode_memory.c and decode_vector.c. */
#include <string.h>

#include "operation.h"

const char *const KIND_NAMES[KINDS] = {
    "integer", "multiply", "branch", "load", "store", "load_vector", "store_vector", "fma_4", "fma_2", "fma_1", "float",
    "mac_8_to_16", "mac_16_to_32", "multiply_vector", "add_pairs", "dot_product", "insert", "permute", "vector",
    "vector_to_integer", "other",
};

void read_register(struct operation *op, int number)
{
    if (number != ZERO_REGISTER) op->sources[op->source_count++] = number;
}

void read_vector(struct operation *op, int number) { op->sources[op->source_count++] = V0 + number; }

void write_register(struct operation *op, int number, int latency)
{
    if (number == ZERO_REGISTER) return;
    op->results[op->result_count] = number;
    op->latencies[op->result_count++] = latency;
}

void write_vector(struct operation *op, int number, int latency) { write_register(op, V0 + number, latency); }

/* Data processing with an immediate operand. */
static void decode_immediate(uint32_t word, struct operation *op)
{
    enum { ADD_SUBTRACT = 2, LOGICAL = 4, MOVE_WIDE = 5, BITFIELD = 6, EXTRACT = 7 };
    int group = bits(word, 23, 3), variant = bits(word, 29, 2), rd = bits(word, 0, 5), rn = bits(word, 5, 5);
    bool moves_part = group == MOVE_WIDE && variant == 3;    /* MOVK keeps the other bits */
    bool sets_flags = (group == ADD_SUBTRACT && (variant & 1)) || (group == LOGICAL && variant == 3);
    op->kind = INTEGER;
    if (group == ADD_SUBTRACT || group == LOGICAL || group == BITFIELD || group == EXTRACT) read_register(op, rn);
    if (moves_part) read_register(op, rd);
    write_register(op, rd, 1);
    if (sets_flags) write_register(op, FLAGS, 1);
}

/* Data processing of general registers. */
static void decode_registers(uint32_t word, struct operation *op)
{
    int rd = bits(word, 0, 5), rn = bits(word, 5, 5), ra = bits(word, 10, 5), rm = bits(word, 16, 5);
    op->kind = INTEGER;
    read_register(op, rn);
    read_register(op, rm);
    if (matches(word, 0x1f000000, 0x1b000000)) {             /* MADD and the like */
        op->kind = MULTIPLY;
        op->multiplier = true;
        read_register(op, ra);
        write_register(op, rd, 4);
    } else if (matches(word, 0x7fe0f800, 0x1ac00800)) {      /* UDIV, SDIV */
        op->issue_cycles = 4;
        write_register(op, rd, 8);
    } else if (matches(word, 0x1fe00000, 0x1a800000)) {      /* CSEL and the like */
        read_register(op, FLAGS);
        write_register(op, rd, 1);
    } else if (matches(word, 0x1fe00000, 0x1a400000)) {      /* CCMP, CCMN */
        read_register(op, FLAGS);
        write_register(op, FLAGS, 1);
    } else {
        bool shifts = bits(word, 10, 6) && !bits(word, 28, 1);
        bool adds = matches(word, 0x1f000000, 0x0b000000), is_logical = matches(word, 0x1f000000, 0x0a000000);
        write_register(op, rd, shifts ? 2 : 1);
        if ((adds && bits(word, 29, 1)) || (is_logical && bits(word, 29, 2) == 3)) write_register(op, FLAGS, 1);
    }
}

static void decode_branch(uint32_t word, struct operation *op)
{
    if (matches(word, 0xffc00000, 0xd5000000)) return;       /* system instructions: OTHER */
    bool compares = matches(word, 0x7e000000, 0x34000000), tests_bit = matches(word, 0x7e000000, 0x36000000);
    op->kind = BRANCH;
    op->branch = true;
    /* B.cond may issue together with the instruction that sets the flags, so it does not wait for them. */
    if (compares || tests_bit) read_register(op, bits(word, 0, 5));
    else if (matches(word, 0xfe000000, 0xd6000000)) read_register(op, bits(word, 5, 5));
}

void decode(uint32_t word, struct operation *op)
{
    int group = bits(word, 25, 4);
    memset(op, 0, sizeof *op);
    op->merged = op->accumulator = NO_REGISTER;
    op->issue_cycles = 1;
    op->kind = OTHER;
    if ((group & 5) == 4) decode_memory(word, op);
    else if ((group & 7) == 7) decode_vector(word, op);
    else if ((group & 14) == 8) decode_immediate(word, op);
    else if ((group & 14) == 10) decode_branch(word, op);
    else if ((group & 7) == 5) decode_registers(word, op);
}
