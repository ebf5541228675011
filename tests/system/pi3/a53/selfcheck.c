/* Loops whose cycles on a real Cortex-A53 were published, to be priced by the issue model.
 *
 * The cycles are those that daniestevez/qsdr (qsdr-benchmarks/tests/instruction_benchmark/aarch64) measured with the
 * core's cycle counter for single pairs of instructions. Here a pair is repeated with registers that do not depend on
 * each other. Prints, for each loop, its tag, its name, and the cycles that were measured for all its rounds.
 */
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static float memory[64] __attribute__((aligned(64)));

enum { ROUNDS = 1000, COPIES = 32 };

/* Eight copies of a pair, each with a vector register of its own, four times. */
#define EIGHT(pair) pair(0) pair(1) pair(2) pair(3) pair(4) pair(5) pair(6) pair(7)
#define BODY(pair) EIGHT(pair) EIGHT(pair) EIGHT(pair) EIGHT(pair)

#define CHECK(tag, name, cycles, pair)                                                                              \
    do {                                                                                                            \
        long rounds = ROUNDS;                                                                                       \
        syscall(SYS_getppid, 0);                                                                                    \
        __asm__ volatile("1:\n" BODY(pair) "subs %0, %0, #1\n b.ne 1b\n"                                             \
                         : "+r"(rounds) : "r"(memory)                                                               \
                         : "memory", "cc", "x9", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17",      \
                           "v18", "v19", "v20", "v21", "v22", "v23");                                               \
        syscall(SYS_getppid, tag);                                                                                  \
        printf("%d\t%s\t%d\n", tag, name, (cycles) * COPIES * ROUNDS);                                              \
    } while (0)

#define FADD_Q(n) "fadd v" #n ".4s, v" #n ".4s, v31.4s\n"
#define FADD_D(n) "fadd v" #n ".2s, v" #n ".2s, v31.2s\n"
#define FMUL_Q(n) "fmul v" #n ".4s, v" #n ".4s, v31.4s\n"
#define LDR_X(n) "ldr x9, [%1]\n"
#define LDR_D(n) "ldr d1" LOADED_##n ", [%1]\n"
#define LDR_Q(n) "ldr q1" LOADED_##n ", [%1]\n"
#define LOADED_0 "6"
#define LOADED_1 "7"
#define LOADED_2 "8"
#define LOADED_3 "9"
#define LOADED_4 "6"
#define LOADED_5 "7"
#define LOADED_6 "8"
#define LOADED_7 "9"
#define LDP_Q(n) "ldp q20, q21, [%1]\n"
#define LDP_D(n) "ldp d20, d21, [%1]\n"
#define LD1_FOUR(n) "ld1 {v20.4s-v23.4s}, [%1]\n"
#define ST1_FOUR(n) "st1 {v20.4s-v23.4s}, [%1]\n"
#define STR_Q(n) "str q30, [%1]\n"
#define STR_D(n) "str d30, [%1, #64]\n"
#define STR_X(n) "str x9, [%1]\n"
#define INS(n) "ins v" #n ".d[1], x9\n"
#define LD1_D(n) "ld1 {v1" LOADED_##n ".d}[0], [%1]\n"
#define TO_X(n) "mov x9, v30.d[0]\n"

#define FADD_Q_LDR_X(n) FADD_Q(n) LDR_X(n)
#define FADD_Q_LDR_D(n) FADD_Q(n) LDR_D(n)
#define FADD_D_LDR_D(n) FADD_D(n) LDR_D(n)
#define FADD_Q_STR_X(n) FADD_Q(n) STR_X(n)
#define FADD_Q_STR_Q(n) FADD_Q(n) STR_Q(n)
#define FADD_Q_TO_X(n) FADD_Q(n) TO_X(n)
#define LDR_D_INS(n) LDR_D(n) INS(n)
#define LD1_D_INS(n) LD1_D(n) INS(n)
#define LDR_D_STR_Q(n) LDR_D(n) STR_Q(n)
#define LDR_D_STR_D(n) LDR_D(n) STR_D(n)
#define INS_STR_Q(n) INS(n) STR_Q(n)

int main(void)
{
    CHECK(1, "fadd.4s", 1, FADD_Q);
    CHECK(2, "fmul.4s", 1, FMUL_Q);
    CHECK(3, "ldr d", 1, LDR_D);
    CHECK(4, "ldr q", 2, LDR_Q);
    CHECK(5, "ldp d", 2, LDP_D);
    CHECK(6, "ldp q", 4, LDP_Q);
    CHECK(7, "ld1 of four", 8, LD1_FOUR);
    CHECK(8, "st1 of four", 4, ST1_FOUR);
    CHECK(9, "fadd.4s, ldr x", 1, FADD_Q_LDR_X);
    CHECK(10, "fadd.4s, ldr d", 2, FADD_Q_LDR_D);
    CHECK(11, "fadd.2s, ldr d", 1, FADD_D_LDR_D);
    CHECK(12, "fadd.4s, str x", 1, FADD_Q_STR_X);
    CHECK(13, "fadd.4s, str q", 2, FADD_Q_STR_Q);
    CHECK(14, "fadd.4s, mov x", 2, FADD_Q_TO_X);
    CHECK(15, "ldr d, ins", 1, LDR_D_INS);
    CHECK(16, "ld1 d, ins", 2, LD1_D_INS);
    CHECK(17, "ldr d, str q", 2, LDR_D_STR_Q);
    CHECK(18, "ldr d, str d", 2, LDR_D_STR_D);
    CHECK(19, "ins, str q", 2, INS_STR_Q);
    return 0;
}
