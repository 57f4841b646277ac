#include "ring.h"

uint8_t ring_storage[RING_BYTES];
uint8_t ring_entry_bytes, ring_capacity, ring_first, ring_count;

static uint8_t *entry(uint8_t index) {
  return ring_storage + (uint16_t)index * ring_entry_bytes;
}

void ring_begin(uint8_t entry_bytes) {
  uint16_t capacity = RING_BYTES / entry_bytes;
  ring_entry_bytes = entry_bytes;
  ring_capacity = capacity > 255 ? 255 : capacity;
  ring_first = ring_count = 0;
}

uint8_t *ring_oldest(void) {
  return entry(ring_first);
}

uint8_t *ring_append(void) {
  uint16_t index = (uint16_t)ring_first + ring_count++;
  return entry(index >= ring_capacity ? index - ring_capacity : index);
}

void ring_remove_oldest(void) {
  ring_count--;
  if (++ring_first == ring_capacity) ring_first = 0;
}
