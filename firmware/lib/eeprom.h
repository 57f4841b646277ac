/* EEPROM bytes: reading at once, writing asleep.
 *
 * A byte takes 3.4 ms to write (ATmega328P datasheet, table 8-1); the chip sleeps through it in idle mode while
 * interrupts are served. Bytes that already hold the value are not written again. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void eeprom_load(void *to, uint16_t address, uint8_t count);

/* Writes in ascending order; true when every byte reads back as written. Interrupts must be on. */
bool eeprom_store(uint16_t address, const void *from, uint8_t count);

#ifdef __cplusplus
}
#endif
