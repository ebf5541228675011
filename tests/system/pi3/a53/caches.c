/* The sizes are those of Arm DDI 0500, Cortex-A53 Technical Reference Manual, and of the BCM2837. The line that was
 * used least recently is replaced. (An A53 chooses at random in its first level; that makes little difference here.)
 */
#include "caches.h"

enum { LINE_SHIFT = 6, PAGE_LINES = 64, LEVEL1_SETS = 128, LEVEL1_WAYS = 4, LEVEL2_SETS = 512, LEVEL2_WAYS = 16 };

struct line { uint64_t number; uint32_t used_at; bool is_changed; };

static struct line level1[LEVEL1_SETS][LEVEL1_WAYS], level2[LEVEL2_SETS][LEVEL2_WAYS];
static uint32_t now;
static uint64_t last_line = UINT64_MAX;
static struct traffic counted;

/* Looks for a line in its set, and puts it there. Returns whether it was there; if not, `evicted` is what left. */
static bool look_up(struct line *set, int ways, uint64_t number, bool is_store, struct line *evicted)
{
    int oldest = 0;
    now++;
    for (int i = 0; i < ways; i++) {
        if (set[i].number == number) {
            set[i].used_at = now;
            set[i].is_changed |= is_store;
            return true;
        }
        if (now - set[i].used_at > now - set[oldest].used_at) oldest = i;
    }
    *evicted = set[oldest];
    set[oldest] = (struct line){ number, now, is_store };
    return false;
}

/* A page may lie anywhere in physical memory: the upper bits of the index come from a hash of its address. */
static struct line *level2_set(uint64_t number)
{
    uint64_t page = number / PAGE_LINES * 0x9e3779b97f4a7c15u;
    return level2[number % PAGE_LINES | page >> 61 << LINE_SHIFT];
}

static void access_line(uint64_t number, bool is_store)
{
    struct line evicted, evicted2;
    if (look_up(level1[number % LEVEL1_SETS], LEVEL1_WAYS, number, is_store, &evicted)) return;
    counted.level1_misses++;
    if (evicted.is_changed && !look_up(level2_set(evicted.number), LEVEL2_WAYS, evicted.number, true, &evicted2))
        counted.writebacks += evicted2.is_changed;
    if (!look_up(level2_set(number), LEVEL2_WAYS, number, false, &evicted2)) {
        counted.fills++;
        counted.writebacks += evicted2.is_changed;
    }
}

void access_memory(uint64_t address, unsigned size_bytes, bool is_store)
{
    uint64_t first = address >> LINE_SHIFT, last = (address + size_bytes - 1) >> LINE_SHIFT;
    if (first == last_line && last == first && !is_store) return;    /* still there: nothing came in between */
    last_line = last;
    access_line(first, is_store);
    if (last != first) access_line(last, is_store);
}

struct traffic traffic(void) { return counted; }

void reset_traffic(void) { counted = (struct traffic){ 0 }; }
