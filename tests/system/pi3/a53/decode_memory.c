/* Decodes loads and stores.
 *
 * A load takes 3 cycles to a general or 64-bit vector register, 4 to a 128-bit one; one of 128 bits also takes two
 * cycles of issue, a store of 128 bits one (measured by qsdr-benchmarks: `ldp q, q` 4 cycles, `ldr d` 1).
 */
#include "operation.h"

/* Returns how many registers LD1 to LD4 or ST1 to ST4 of whole registers transfer, by bits 12 to 15. */
static int transferred_registers(int opcode)
{
    switch (opcode) {
    case 0: case 2: return 4;                                /* LD4; LD1 of four */
    case 4: case 6: return 3;
    case 8: case 10: return 2;
    default: return 1;
    }
}

/* LD1 to LD4 and ST1 to ST4, of whole registers or of single elements. */
static void decode_structures(uint32_t word, struct operation *op)
{
    bool is_element = bits(word, 24, 1), is_load = bits(word, 22, 1), is_q = bits(word, 30, 1), post = bits(word, 23, 1);
    int opcode = bits(word, 12, 4), rt = bits(word, 0, 5), rn = bits(word, 5, 5), rm = bits(word, 16, 5);
    int count = is_element ? bits(word, 13, 1) * 2 + bits(word, 21, 1) + 1 : transferred_registers(opcode);
    bool interleaves = !is_element && (opcode == 0 || opcode == 4 || opcode == 8);
    int cycles = is_load && !is_element ? (is_q ? 2 : 1) * count + interleaves : count;

    op->kind = !is_load ? STORE_VECTOR : LOAD_VECTOR;
    op->halves = 2;
    op->issue_cycles = cycles;
    read_register(op, rn);
    if (post) {
        write_register(op, rn, 1);
        read_register(op, rm);                               /* 31: an immediate */
    }
    for (int i = 0; i < count; i++) {
        int number = (rt + i) & 31;
        if (is_load) write_vector(op, number, 4 + (is_q ? 2 * i : i));
        if (!is_load || is_element) read_vector(op, number);
    }
}

static void decode_vector_pair(uint32_t word, struct operation *op, bool is_load)
{
    bool is_q = bits(word, 30, 2) == 2;
    int rt = bits(word, 0, 5), rt2 = bits(word, 10, 5);
    if (is_load) {
        op->kind = LOAD_VECTOR;
        op->halves = is_q ? 2 : 1;
        op->issue_cycles = is_q ? 4 : 2;
        write_vector(op, rt, is_q ? 4 : 3);
        write_vector(op, rt2, is_q ? 6 : 4);
    } else {
        op->kind = STORE_VECTOR;
        op->halves = 2;
        op->issue_cycles = is_q ? 2 : 1;
        read_vector(op, rt);
        read_vector(op, rt2);
    }
}

/* LDP, STP. */
static void decode_pair(uint32_t word, struct operation *op)
{
    bool is_load = bits(word, 22, 1), is_64_bit = bits(word, 30, 2) == 2, writes_back = bits(word, 23, 1);
    int rt = bits(word, 0, 5), rn = bits(word, 5, 5), rt2 = bits(word, 10, 5);
    read_register(op, rn);
    if (writes_back) write_register(op, rn, 1);
    if (bits(word, 26, 1)) {
        decode_vector_pair(word, op, is_load);
    } else if (is_load) {
        op->kind = LOAD;
        op->issue_cycles = is_64_bit ? 2 : 1;
        write_register(op, rt, 3);
        write_register(op, rt2, is_64_bit ? 4 : 3);
    } else {
        op->kind = STORE;
        read_register(op, rt);
        read_register(op, rt2);
    }
}

static void load_one_vector(struct operation *op, int rt, bool is_q, int latency)
{
    op->kind = LOAD_VECTOR;
    op->halves = op->issue_cycles = is_q ? 2 : 1;
    write_vector(op, rt, latency);
}

/* LDR from an address relative to the program counter. */
static void decode_literal(uint32_t word, struct operation *op)
{
    int rt = bits(word, 0, 5);
    if (bits(word, 26, 1)) {
        load_one_vector(op, rt, bits(word, 31, 1), 4);
    } else {
        op->kind = LOAD;
        write_register(op, rt, 3);
    }
}

/* LDR, STR and PRFM with an offset: an immediate, before or after the access, or a register. */
static void decode_single(uint32_t word, struct operation *op)
{
    int size = bits(word, 30, 2), opcode = bits(word, 22, 2), rt = bits(word, 0, 5), rn = bits(word, 5, 5);
    bool has_long_offset = bits(word, 24, 1), may_add_register = bits(word, 21, 1), writes_back = bits(word, 10, 1);
    bool is_vector = bits(word, 26, 1), is_q = size == 0 && opcode >= 2;
    read_register(op, rn);
    if (!has_long_offset && may_add_register && bits(word, 10, 2) == 2) read_register(op, bits(word, 16, 5));
    if (!has_long_offset && !may_add_register && writes_back) write_register(op, rn, 1);
    if (is_vector && (opcode & 1)) {
        load_one_vector(op, rt, is_q, is_q ? 4 : 3);
    } else if (is_vector) {
        op->kind = STORE_VECTOR;
        op->halves = 2;
        read_vector(op, rt);
    } else if (opcode == 0) {
        op->kind = STORE;
        read_register(op, rt);
    } else if (size == 3 && opcode == 2) {                   /* PRFM */
        op->kind = INTEGER;
    } else {
        op->kind = LOAD;
        write_register(op, rt, 3);
    }
}

/* Exclusive accesses, and those that acquire or release. */
static void decode_exclusive(uint32_t word, struct operation *op)
{
    int rt = bits(word, 0, 5), rn = bits(word, 5, 5);
    op->issue_cycles = 3;
    read_register(op, rn);
    if (bits(word, 22, 1)) {
        op->kind = LOAD;
        write_register(op, rt, 3);
    } else {
        op->kind = STORE;
        read_register(op, rt);
    }
}

void decode_memory(uint32_t word, struct operation *op)
{
    op->memory = true;
    if (matches(word, 0xbe000000, 0x0c000000)) decode_structures(word, op);
    else if (matches(word, 0x3a000000, 0x28000000)) decode_pair(word, op);
    else if (matches(word, 0x3b000000, 0x18000000)) decode_literal(word, op);
    else if (matches(word, 0x3a000000, 0x38000000)) decode_single(word, op);
    else decode_exclusive(word, op);
}
