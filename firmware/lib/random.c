#include "random.h"

static uint32_t state;

void random_begin(uint16_t uno_id, uint32_t boot_epoch) {
  /* MurmurHash3's finaliser scatters neighbouring seeds. */
  uint32_t seed = ((uint32_t)uno_id << 16 | uno_id) ^ boot_epoch * 0x9e3779b9UL;
  seed = (seed ^ seed >> 16) * 0x85ebca6bUL;
  seed = (seed ^ seed >> 13) * 0xc2b2ae35UL;
  seed ^= seed >> 16;
  state = seed ? seed : 1;
}

uint32_t random_below(uint32_t bound) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return (uint32_t)((uint64_t)state * bound >> 32);
}
