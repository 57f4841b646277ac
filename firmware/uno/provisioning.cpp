#include "provisioning.h"

#include <avr/pgmspace.h>
#include <string.h>

#include "crc16.h"
#include "eeprom.h"
#include "epoch.h"
#include "journal.h"
#include "s0.h"

enum { KEY_MARK_ADDRESS = 50 };

/* In place of the magic's first byte while a record is being replaced. */
enum { UNDER_WAY = 0 };

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

uint8_t provisioning_fault(const struct provisioning *record) {
  if (memcmp_P(record->magic, PSTR("METR"), sizeof record->magic) != 0) return FAULT_PROVISIONING_MAGIC;
  if (record->version != PROVISIONING_VERSION) return FAULT_PROVISIONING_VERSION;
  if (record->crc != crc16(record, sizeof *record - sizeof record->crc)) return FAULT_PROVISIONING_CRC;
  if (!values_in_range(record)) return FAULT_PROVISIONING_VALUE;
  return 0;
}

uint8_t provisioning_load(struct provisioning *record) {
  eeprom_load(record, PROVISIONING_ADDRESS, sizeof *record);
  return provisioning_fault(record);
}

/* ---- keys given up ---- */

/* Not a key, nor much of one: enough to know it again. One that merely has the same mark is refused as well. */
struct key_mark {
  uint16_t crc;
  uint16_t complement;
};

static key_mark mark_of(const uint8_t key[16]) {
  uint16_t crc = crc16(key, 16);
  return {crc, (uint16_t)~crc};
}

static bool is_given_up(const uint8_t key[16]) {
  key_mark mark = mark_of(key), given_up;
  eeprom_load(&given_up, KEY_MARK_ADDRESS, sizeof given_up);
  return given_up.crc == mark.crc && given_up.complement == mark.complement;
}

static bool give_up(const uint8_t key[16]) {
  key_mark mark = mark_of(key);
  return eeprom_store(KEY_MARK_ADDRESS, &mark, sizeof mark);
}

/* In a time that does not depend on the keys. */
static bool is_same_key(const uint8_t one[16], const uint8_t other[16]) {
  uint8_t differences = 0;
  for (uint8_t i = 0; i < 16; i++) differences |= one[i] ^ other[i];
  return !differences;
}

/* ---- storing ---- */

static bool is_blank(const provisioning *record) {
  const uint8_t *bytes = (const uint8_t *)record;
  for (uint8_t i = 0; i < sizeof *record; i++)
    if (bytes[i] != 0xff) return false;
  return true;
}

/* Whether new epochs are safe with this key, on a chip whose epochs are lost. */
static uint8_t part_with_held_key(const uint8_t next_key[16]) {
  provisioning held;
  uint8_t fault = provisioning_load(&held);
  /* Where a store was cut short, the key in place was never used, or is marked. */
  if (is_blank(&held) || held.magic[0] == UNDER_WAY) return PROVISIONING_STORED;
  if (fault == FAULT_PROVISIONING_CRC || fault == FAULT_PROVISIONING_VERSION) return PROVISIONING_EPOCHS_LOST;
  if (is_same_key(held.key, next_key)) return PROVISIONING_KEY_USED;
  /* A stranger's EEPROM, or one whose first byte was torn: then its key is marked. */
  if (fault == FAULT_PROVISIONING_MAGIC) return PROVISIONING_STORED;
  return give_up(held.key) ? PROVISIONING_STORED : PROVISIONING_NOT_KEPT;
}

uint8_t provisioning_store(const struct provisioning *record) {
  const uint8_t under_way = UNDER_WAY;
  const uint8_t *bytes = (const uint8_t *)record;
  if (is_given_up(record->key)) return PROVISIONING_KEY_USED;
  bool anew = !epoch_is_known();
  if (anew) {
    uint8_t outcome = part_with_held_key(record->key);
    if (outcome != PROVISIONING_STORED) return outcome;
  }
  bool kept = eeprom_store(PROVISIONING_ADDRESS, &under_way, 1) && journal_forget() &&
              eeprom_store(PROVISIONING_ADDRESS + 1, bytes + 1, sizeof *record - 1) &&
              (!anew || epoch_begin_anew()) && eeprom_store(PROVISIONING_ADDRESS, bytes, 1);
  return kept ? PROVISIONING_STORED : PROVISIONING_NOT_KEPT;
}
