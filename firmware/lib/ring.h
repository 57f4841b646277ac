/* Ring of sealed frames that no gateway has acknowledged yet, oldest first.
 *
 * All frames of one boot have the same length and consecutive counters, so an entry holds ciphertext and tag only; the
 * header is made again from the counter when the frame is sent. */
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sized so that the deepest stack measured leaves more than 128 bytes of SRAM untouched (firmware/README.md). */
#ifndef RING_BYTES
#define RING_BYTES 1295
#endif

extern uint8_t ring_storage[RING_BYTES];
extern uint8_t ring_entry_bytes; /* length of one entry */
extern uint8_t ring_capacity;    /* entries that fit */
extern uint8_t ring_first;       /* index of the oldest */
extern uint8_t ring_count;       /* entries held */

void ring_begin(uint8_t entry_bytes);
uint8_t *ring_oldest(void);
/* Room for one more entry; the ring must not be full. */
uint8_t *ring_append(void);
void ring_remove_oldest(void);

#ifdef __cplusplus
}
#endif
