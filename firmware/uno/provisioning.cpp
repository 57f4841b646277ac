#include "provisioning.h"

#include <avr/pgmspace.h>
#include <string.h>

#include "crc16.h"
#include "eeprom.h"
#include "s0.h"

static_assert(sizeof(struct provisioning) == 50, "EEPROM map");

static bool values_in_range(const struct provisioning *record) {
  for (uint8_t channel = 0; channel < record->ac_count && channel < 2; channel++)
    if (!record->scale[channel].microvolts_per_volt || !record->scale[channel].microvolts_per_ampere) return false;
  return record->ac_count <= 2 && record->s0_count <= S0_LINES - 2 * record->ac_count &&
         record->s0_count + record->ac_count > 0 && record->interval_s && record->journal_intervals &&
         record->frequency_hz >= 137000000UL && record->frequency_hz <= 525000000UL &&
         record->spreading_factor >= 7 && record->spreading_factor <= 12 && record->bandwidth <= 9 &&
         record->coding_rate >= 1 && record->coding_rate <= 4 && record->power_dbm >= 2 &&
         record->power_dbm <= 17 && record->ack_timeout_ms;
}

uint8_t provisioning_load(struct provisioning *record) {
  eeprom_load(record, PROVISIONING_ADDRESS, sizeof *record);
  if (memcmp_P(record->magic, PSTR("METR"), sizeof record->magic) != 0) return FAULT_PROVISIONING_MAGIC;
  if (record->version != PROVISIONING_VERSION) return FAULT_PROVISIONING_VERSION;
  if (record->crc != crc16(record, sizeof *record - sizeof record->crc)) return FAULT_PROVISIONING_CRC;
  if (!values_in_range(record)) return FAULT_PROVISIONING_VALUE;
  return 0;
}
