/* Decodes Advanced SIMD and scalar floating point, by the groups of Arm DDI 0487, C4.1.
 *
 * Additions and multiplications of floats take 4 cycles; a multiply-accumulate 8, but 4 to the addend of the next.
 * NEON has two halves of 64 bits: a 128-bit operation takes both, and must be the older of a pair.
 */
#include "operation.h"

/* One instruction, taken apart. */
struct fields { int rd, rn, rm, size; bool is_q, is_unsigned; };

static void produce(struct operation *op, enum kind kind, bool is_q, int latency, int rd)
{
    op->kind = kind;
    op->halves = is_q ? 2 : 1;
    op->leads = is_q;
    write_vector(op, rd, latency);
}

static void accumulate(struct operation *op, int rd, enum accumulation accumulation)
{
    op->accumulator = V0 + rd;
    op->accumulation = accumulation;
}

static void produce_fma(struct operation *op, bool is_q, int rd)
{
    produce(op, is_q ? FMA_4 : FMA_2, is_q, 8, rd);
    accumulate(op, rd, FLOAT_SUM);
}

/* SMOV, UMOV, FMOV to a general register. */
static void produce_integer(struct operation *op, int rd)
{
    op->kind = VECTOR_TO_INTEGER;
    op->halves = 2;
    write_register(op, rd, 4);
}

static void three_same(uint32_t word, const struct fields *f, struct operation *op)
{
    enum { BITWISE = 3, ABSOLUTE_DIFFERENCE_SUM = 15, MLA = 18, MUL = 19, SQDMULH = 22, FLOATS = 24, FMLA = 25, FDIV = 31 };
    int opcode = bits(word, 11, 5);
    read_vector(op, f->rn);
    read_vector(op, f->rm);
    if (opcode == FMLA && !f->is_unsigned) {
        produce_fma(op, f->is_q, f->rd);
    } else if (opcode >= FLOATS) {
        produce(op, FLOAT, f->is_q, 4, f->rd);
        if (opcode == FDIV && f->is_unsigned) op->issue_cycles = f->is_q ? 36 : 18;
    } else if (opcode == MLA) {
        produce(op, MULTIPLY_VECTOR, f->is_q, 4, f->rd);
        accumulate(op, f->rd, INTEGER_SUM);
    } else if (opcode == MUL || opcode == SQDMULH) {
        produce(op, MULTIPLY_VECTOR, f->is_q, 4, f->rd);
    } else {
        bool selects = opcode == BITWISE && f->is_unsigned && f->size;    /* BSL, BIT, BIF */
        produce(op, VECTOR, f->is_q, 3, f->rd);
        if (selects || opcode == ABSOLUTE_DIFFERENCE_SUM) read_vector(op, f->rd);
    }
}

/* SDOT and UDOT of whole registers; an A53 has none, so a program that executes one was not told its processor. */
static void dot_product(uint32_t word, const struct fields *f, struct operation *op)
{
    (void)word;
    read_vector(op, f->rn);
    read_vector(op, f->rm);
    produce(op, DOT_PRODUCT, f->is_q, 4, f->rd);
    accumulate(op, f->rd, DOT_SUM);
}

/* Operations whose result is wider or narrower than their operands: SMLAL, SMULL, SADDL, ADDHN, ... */
static void three_different(uint32_t word, const struct fields *f, struct operation *op)
{
    enum { ADDHN = 4, SABAL = 5, SUBHN = 6, SABDL = 7, FIRST_MULTIPLY = 8, FIRST_WITHOUT_SUM = 12, LAST_MULTIPLY = 13 };
    int opcode = bits(word, 12, 4);
    read_vector(op, f->rn);
    read_vector(op, f->rm);
    if (opcode >= FIRST_MULTIPLY && opcode <= LAST_MULTIPLY) {
        produce(op, f->size == 0 ? MAC_8_TO_16 : MAC_16_TO_32, true, 4, f->rd);
        if (opcode < FIRST_WITHOUT_SUM) accumulate(op, f->rd, INTEGER_SUM);
    } else {
        produce(op, VECTOR, true, 3, f->rd);
        if (opcode >= ADDHN && opcode <= SABDL) read_vector(op, f->rd);
    }
}

static void two_registers(uint32_t word, const struct fields *f, struct operation *op)
{
    enum { ADD_LONG_PAIRS = 2, ADD_AND_ACCUMULATE_PAIRS = 6, NARROW = 18, NARROW_SATURATED = 20, FLOATS = 22, FSQRT = 31 };
    int opcode = bits(word, 12, 5);
    read_vector(op, f->rn);
    if (opcode == ADD_AND_ACCUMULATE_PAIRS) {
        produce(op, ADD_PAIRS, f->is_q, 4, f->rd);
        accumulate(op, f->rd, PAIRS_SUM);
    } else if (opcode == ADD_LONG_PAIRS) {
        produce(op, ADD_PAIRS, f->is_q, 3, f->rd);
    } else if (opcode >= FLOATS) {
        produce(op, FLOAT, f->is_q, 4, f->rd);
        if (opcode == FSQRT) op->issue_cycles = f->is_q ? 34 : 17;
    } else {
        bool fills_upper_half = (opcode == NARROW || opcode == NARROW_SATURATED) && f->is_q;
        produce(op, VECTOR, f->is_q, 4, f->rd);
        if (fills_upper_half) read_vector(op, f->rd);
    }
}

static void across_lanes(uint32_t word, const struct fields *f, struct operation *op)
{
    (void)word;
    read_vector(op, f->rn);
    produce(op, VECTOR, f->is_q, 4, f->rd);
}

/* DUP, INS, SMOV, UMOV. */
static void copy(uint32_t word, const struct fields *f, struct operation *op)
{
    enum { DUP_ELEMENT = 0, DUP_GENERAL = 1, INS_GENERAL = 3 };
    int opcode = bits(word, 11, 4);
    if (f->is_unsigned) {                                    /* INS from an element */
        read_vector(op, f->rn);
        op->merged = V0 + f->rd;
        produce(op, INSERT, false, 2, f->rd);
    } else if (opcode == DUP_ELEMENT) {
        read_vector(op, f->rn);
        produce(op, INSERT, f->is_q, 2, f->rd);
    } else if (opcode == DUP_GENERAL) {
        read_register(op, f->rn);
        produce(op, INSERT, f->is_q, 2, f->rd);
        op->leads = false;
    } else if (opcode == INS_GENERAL) {
        read_register(op, f->rn);
        op->merged = V0 + f->rd;
        produce(op, INSERT, false, 2, f->rd);
    } else {
        read_vector(op, f->rn);
        produce_integer(op, f->rd);
    }
}

/* Operations with one element of a register. */
static void by_element(uint32_t word, const struct fields *f, struct operation *op)
{
    enum { HALFWORDS = 1 };
    read_vector(op, f->rn);
    read_vector(op, f->size == HALFWORDS ? f->rm & 15 : f->rm);
    switch (bits(word, 12, 4)) {
    case 1: case 5:                                          /* FMLA, FMLS */
        produce_fma(op, f->is_q, f->rd);
        break;
    case 9:                                                  /* FMUL */
        produce(op, FLOAT, f->is_q, 4, f->rd);
        break;
    case 2: case 3: case 6: case 7:                          /* SMLAL, SQDMLAL, SMLSL, SQDMLSL */
        produce(op, MAC_16_TO_32, true, 4, f->rd);
        accumulate(op, f->rd, INTEGER_SUM);
        break;
    case 10: case 11:                                        /* SMULL, SQDMULL */
        produce(op, MAC_16_TO_32, true, 4, f->rd);
        break;
    case 0: case 4:                                          /* MLA, MLS */
        produce(op, MULTIPLY_VECTOR, f->is_q, 4, f->rd);
        accumulate(op, f->rd, INTEGER_SUM);
        break;
    case 14: case 15:                                        /* SDOT, UDOT */
        produce(op, DOT_PRODUCT, f->is_q, 4, f->rd);
        accumulate(op, f->rd, DOT_SUM);
        break;
    default:
        produce(op, MULTIPLY_VECTOR, f->is_q, 4, f->rd);
    }
}

/* Shifts by an immediate, and MOVI. */
static void shift_or_move(uint32_t word, const struct fields *f, struct operation *op)
{
    enum { SRA = 2, INSERTING = 6, FIRST_NARROWING = 16, LAST_NARROWING = 19, WIDENING = 20, FIRST_CONVERSION = 28 };
    int opcode = bits(word, 11, 5);
    bool narrows = opcode >= FIRST_NARROWING && opcode <= LAST_NARROWING;
    bool is_move = !bits(word, 19, 4);
    if (is_move) {
        produce(op, VECTOR, f->is_q, 2, f->rd);
        return;
    }
    read_vector(op, f->rn);
    if (opcode >= FIRST_CONVERSION) produce(op, FLOAT, f->is_q, 4, f->rd);
    else produce(op, VECTOR, opcode == WIDENING || narrows || f->is_q, opcode <= SRA ? 3 : 4, f->rd);
    if (opcode == SRA || opcode == INSERTING || (narrows && f->is_q)) read_vector(op, f->rd);
}

/* ZIP, UZP, TRN, EXT. */
static void permute(uint32_t word, const struct fields *f, struct operation *op)
{
    (void)word;
    read_vector(op, f->rn);
    read_vector(op, f->rm);
    produce(op, PERMUTE, f->is_q, 3, f->rd);
}

/* TBL, TBX. */
static void look_up(uint32_t word, const struct fields *f, struct operation *op)
{
    int registers = bits(word, 13, 2) + 1;
    for (int i = 0; i < registers; i++) read_vector(op, (f->rn + i) & 31);
    read_vector(op, f->rm);
    produce(op, PERMUTE, f->is_q, 2 + registers, f->rd);
    op->issue_cycles = registers;
}

/* FMADD and the like, of scalars. */
static void scalar_fma(uint32_t word, const struct fields *f, struct operation *op)
{
    read_vector(op, f->rn);
    read_vector(op, f->rm);
    read_vector(op, bits(word, 10, 5));
    produce(op, FMA_1, false, 8, f->rd);
}

/* FMOV, SCVTF, FCVTZS and the like, between general and floating-point registers. */
static void convert_scalar(uint32_t word, const struct fields *f, struct operation *op)
{
    int opcode = bits(word, 16, 3);
    if (opcode == 2 || opcode == 3 || opcode == 7) {
        read_register(op, f->rn);
        produce(op, INSERT, false, 3, f->rd);
    } else {
        read_vector(op, f->rn);
        produce_integer(op, f->rd);
    }
}

/* FADD, FMUL, FDIV and the like, of scalars. */
static void scalar_arithmetic(uint32_t word, const struct fields *f, struct operation *op)
{
    enum { FDIV = 1 };
    read_vector(op, f->rn);
    read_vector(op, f->rm);
    produce(op, FLOAT, false, 4, f->rd);
    if (bits(word, 12, 4) == FDIV) op->issue_cycles = 12;
}

/* FCMP. */
static void scalar_comparison(uint32_t word, const struct fields *f, struct operation *op)
{
    (void)word;
    read_vector(op, f->rn);
    read_vector(op, f->rm);
    op->kind = FLOAT;
    op->halves = 1;
    write_register(op, FLAGS, 4);
}

/* The first whose bits match decodes the instruction. */
static const struct {
    uint32_t mask, value;
    void (*decode)(uint32_t word, const struct fields *fields, struct operation *op);
} GROUPS[] = {
    { 0x9f200400, 0x0e200400, three_same },
    { 0x9f208400, 0x0e008400, dot_product },
    { 0x9f200c00, 0x0e200000, three_different },
    { 0x9f3e0c00, 0x0e200800, two_registers },
    { 0x9f3e0c00, 0x0e300800, across_lanes },
    { 0x9fe08400, 0x0e000400, copy },
    { 0x9f000400, 0x0f000000, by_element },
    { 0x9f800400, 0x0f000400, shift_or_move },
    { 0xbf208c00, 0x0e000800, permute },
    { 0xbfe08400, 0x2e000000, permute },
    { 0xbfe08c00, 0x0e000000, look_up },
    { 0xff000000, 0x1f000000, scalar_fma },
    { 0x7f20fc00, 0x1e200000, convert_scalar },
    { 0xff200c00, 0x1e200800, scalar_arithmetic },
    { 0xff203c00, 0x1e202000, scalar_comparison },
};

void decode_vector(uint32_t word, struct operation *op)
{
    struct fields fields = {
        .rd = bits(word, 0, 5), .rn = bits(word, 5, 5), .rm = bits(word, 16, 5),
        .size = bits(word, 22, 2), .is_q = bits(word, 30, 1), .is_unsigned = bits(word, 29, 1),
    };
    for (unsigned i = 0; i < sizeof GROUPS / sizeof *GROUPS; i++) {
        if (!matches(word, GROUPS[i].mask, GROUPS[i].value)) continue;
        GROUPS[i].decode(word, &fields, op);
        return;
    }
    read_vector(op, fields.rn);                              /* the other operations of scalars */
    produce(op, FLOAT, false, 4, fields.rd);
}
