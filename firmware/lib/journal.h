/* Register journal: a ring of records in EEPROM that keeps the cumulative registers over resets.
 *
 * Record, little-endian, JOURNAL_RECORD_BYTES each: { sequence u32, composition u8, spare u8 = 0, registers u32 x 12,
 * crc16 u16 over the rest }. Records are written in turn, so each cell wears once in JOURNAL_RECORDS saves, and only
 * where a byte changes. A torn write spoils the oldest record only; the newest readable one counts. Records of another
 * composition (the Uno was given other channels) are not restored. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { JOURNAL_ADDRESS = 96, JOURNAL_RECORDS = 16, JOURNAL_RECORD_BYTES = 56, JOURNAL_REGISTERS = 12 };

/* Makes every record unreadable, so that registers begin at 0. False: the EEPROM does not take it. */
bool journal_forget(void);

/* Finds the newest record; true and registers filled when there is one of this composition. */
bool journal_begin(uint8_t composition, uint32_t registers[JOURNAL_REGISTERS]);

/* Writes the next record (up to 190 ms, asleep); returns its sequence number. */
uint32_t journal_save(uint8_t composition, const uint32_t registers[JOURNAL_REGISTERS]);

#ifdef __cplusplus
}
#endif
