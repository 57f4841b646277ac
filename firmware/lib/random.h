/* Marsaglia's xorshift32: cheap numbers that spread Unos over the interval. Not for secrets. */
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Different sequences for different (id, epoch), also when they are neighbours. */
void random_begin(uint16_t uno_id, uint32_t boot_epoch);

/* Uniform in 0 .. bound - 1; 0 for a bound of 0. */
uint32_t random_below(uint32_t bound);

#ifdef __cplusplus
}
#endif
