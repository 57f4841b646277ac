#include "journal.h"

#include <string.h>

#include "crc16.h"
#include "eeprom.h"

struct record {
  uint32_t sequence;
  uint8_t composition;
  uint8_t spare;
  uint32_t registers[JOURNAL_REGISTERS];
  uint16_t crc;
};
_Static_assert(sizeof(struct record) == JOURNAL_RECORD_BYTES, "EEPROM map");

static uint32_t next_sequence;
static uint8_t next_slot;

static uint16_t address_of(uint8_t slot) {
  return JOURNAL_ADDRESS + slot * JOURNAL_RECORD_BYTES;
}

static bool load(uint8_t slot, struct record *record) {
  eeprom_load(record, address_of(slot), sizeof *record);
  return record->crc == crc16(record, sizeof *record - sizeof record->crc);
}

bool journal_begin(uint8_t composition, uint32_t registers[JOURNAL_REGISTERS]) {
  struct record record;
  uint8_t newest = JOURNAL_RECORDS;
  next_sequence = 0;
  next_slot = 0;
  for (uint8_t slot = 0; slot < JOURNAL_RECORDS; slot++) {
    if (!load(slot, &record) || record.sequence < next_sequence) continue;
    newest = slot;
    next_sequence = record.sequence + 1;
  }
  if (newest == JOURNAL_RECORDS) return false;
  next_slot = (newest + 1) % JOURNAL_RECORDS;
  load(newest, &record);
  if (record.composition != composition) return false;
  memcpy(registers, record.registers, sizeof record.registers);
  return true;
}

uint32_t journal_save(uint8_t composition, const uint32_t registers[JOURNAL_REGISTERS]) {
  struct record record = {.sequence = next_sequence, .composition = composition};
  memcpy(record.registers, registers, sizeof record.registers);
  record.crc = crc16(&record, sizeof record - sizeof record.crc);
  eeprom_store(address_of(next_slot), &record, sizeof record);
  next_slot = (next_slot + 1) % JOURNAL_RECORDS;
  return next_sequence++;
}
