/* The data caches of a Raspberry Pi 3: 32 kB for each core and 512 kB for all four, in lines of 64 bytes. */
#ifndef CACHES_H
#define CACHES_H

#include <stdbool.h>
#include <stdint.h>

struct traffic {
    uint64_t level1_misses;
    uint64_t fills;         /* lines that came from memory */
    uint64_t writebacks;    /* changed lines that went there */
};

void access_memory(uint64_t address, unsigned size_bytes, bool is_store);
struct traffic traffic(void);
void reset_traffic(void);

#endif
