#include "journal.h"

#include <stddef.h>

#include "crc16.h"
#include "eeprom.h"

/* A record without its registers: they go between EEPROM and the caller's array directly, which saves stack. */
struct head {
  uint32_t sequence;
  uint8_t composition;
  uint8_t spare;
};

enum { REGISTERS_BYTES = JOURNAL_REGISTERS * 4, REGISTERS_AT = 6, CRC_AT = REGISTERS_AT + REGISTERS_BYTES };
_Static_assert(sizeof(struct head) == REGISTERS_AT && CRC_AT + 2 == JOURNAL_RECORD_BYTES, "EEPROM map");

static uint32_t next_sequence;
static uint8_t next_slot;

static uint16_t address_of(uint8_t slot) {
  return JOURNAL_ADDRESS + slot * JOURNAL_RECORD_BYTES;
}

static uint16_t update(uint16_t crc, const void *data, uint8_t count) {
  for (const uint8_t *byte = data; count--; byte++) crc = crc16_update(crc, *byte);
  return crc;
}

static bool load_head(uint8_t slot, struct head *head) {
  uint16_t address = address_of(slot), crc = CRC16_INITIAL, stored;
  for (uint8_t at = 0; at < CRC_AT; at++) {
    uint8_t byte;
    eeprom_load(&byte, address + at, 1);
    crc = crc16_update(crc, byte);
  }
  eeprom_load(head, address, sizeof *head);
  eeprom_load(&stored, address + CRC_AT, sizeof stored);
  return stored == crc;
}

bool journal_forget(void) {
  struct head head;
  bool forgotten = true;
  for (uint8_t slot = 0; slot < JOURNAL_RECORDS; slot++) {
    if (!load_head(slot, &head)) continue;
    uint8_t low;
    eeprom_load(&low, address_of(slot) + CRC_AT, sizeof low);
    low = (uint8_t)~low;
    forgotten &= eeprom_store(address_of(slot) + CRC_AT, &low, sizeof low);
  }
  return forgotten;
}

bool journal_begin(uint8_t composition, uint32_t registers[JOURNAL_REGISTERS]) {
  struct head head;
  uint8_t newest = JOURNAL_RECORDS, newest_composition = 0;
  next_sequence = 0;
  next_slot = 0;
  for (uint8_t slot = 0; slot < JOURNAL_RECORDS; slot++) {
    if (!load_head(slot, &head) || head.sequence < next_sequence) continue;
    newest = slot;
    newest_composition = head.composition;
    next_sequence = head.sequence + 1;
  }
  if (newest == JOURNAL_RECORDS) return false;
  next_slot = (newest + 1) % JOURNAL_RECORDS;
  if (newest_composition != composition) return false;
  eeprom_load(registers, address_of(newest) + REGISTERS_AT, REGISTERS_BYTES);
  return true;
}

uint32_t journal_save(uint8_t composition, const uint32_t registers[JOURNAL_REGISTERS]) {
  struct head head = {.sequence = next_sequence, .composition = composition};
  uint16_t crc = update(update(CRC16_INITIAL, &head, sizeof head), registers, REGISTERS_BYTES);
  uint16_t address = address_of(next_slot);
  eeprom_store(address, &head, sizeof head);
  eeprom_store(address + REGISTERS_AT, registers, REGISTERS_BYTES);
  eeprom_store(address + CRC_AT, &crc, sizeof crc);
  next_slot = (next_slot + 1) % JOURNAL_RECORDS;
  return next_sequence++;
}
