#include "epoch.h"

#include "crc16.h"
#include "eeprom.h"

struct slot {
  uint32_t epoch;
  uint16_t crc;
};

static bool load(uint8_t index, uint32_t *epoch) {
  struct slot slot;
  eeprom_load(&slot, EPOCH_ADDRESS + index * EPOCH_SLOT_BYTES, sizeof slot);
  *epoch = slot.epoch;
  return slot.crc == crc16(&slot.epoch, sizeof slot.epoch);
}

static bool store(uint8_t index, uint32_t epoch) {
  struct slot slot = {epoch, crc16(&epoch, sizeof epoch)};
  return eeprom_store(EPOCH_ADDRESS + index * EPOCH_SLOT_BYTES, &slot, sizeof slot);
}

enum epoch_result epoch_begin(uint32_t *epoch) {
  uint32_t held[2];
  bool first = load(0, &held[0]), second = load(1, &held[1]);
  if (!first && !second) return EPOCH_LOST;
  uint8_t newest = first && (!second || held[0] > held[1]) ? 0 : 1;
  bool alone = !(first && second);
  uint32_t next = held[newest] + (alone ? 2 : 1);
  if (next < held[newest]) return EPOCH_LOST; /* all numbers spent */
  if (!store(!newest, next)) return EPOCH_NOT_WRITTEN;
  if (alone && !store(newest, next - 1)) return EPOCH_NOT_WRITTEN;
  *epoch = next;
  return EPOCH_READY;
}

bool epoch_is_known(void) {
  uint32_t epoch;
  return load(0, &epoch) || load(1, &epoch);
}

bool epoch_begin_anew(void) {
  return store(0, 1) && store(1, 0);
}
