/* The price of a block of instructions: cycles of a Cortex-A53 whose data are all in its first-level cache. */
#ifndef ISSUE_H
#define ISSUE_H

#include <stdint.h>

#include "operation.h"

enum { LONGEST_BLOCK = 1024 };   /* QEMU ends a block after 512 instructions at the latest */

/* `words` are the instructions of a block, and `ops` the same ones decoded. A block that jumps back to
 * its own start costs what one more round of the loop does.
 */
double price(const uint32_t *words, const struct operation *ops, int count);

#endif
