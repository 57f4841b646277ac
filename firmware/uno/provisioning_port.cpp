#include "provisioning_port.h"

#include <string.h>

#include "console.h"
#include "crc16.h"
#include "provisioning.h"
#include "timebase.h"

enum { START = 0xa55a, SILENCE_MS = 500, LISTEN_MS = 10000 };

static_assert(PROVISIONING_MESSAGE_BYTES == sizeof(provisioning) + sizeof(uint16_t), "message");

/* The next byte, or -1 when none comes in time. */
static int16_t await_byte(uint32_t end) {
  uint32_t silence = timebase_ticks() + TICKS_FROM_MS(SILENCE_MS);
  if (timebase_reached(silence, end)) silence = end;
  int16_t byte;
  while ((byte = console_take()) < 0)
    if (timebase_reached(timebase_ticks(), silence)) break;
  return byte;
}

/* True when a message has begun, false when none does. */
static bool await_start(uint32_t end) {
  uint16_t seen = 0;
  while (seen != START) {
    int16_t byte = await_byte(end);
    if (byte < 0) return false;
    seen = seen << 8 | (uint8_t)byte;
  }
  return true;
}

/* Receives what follows the start; null or what is wrong. */
static PGM_P receive(uint8_t *message, uint32_t end) {
  int16_t length = await_byte(end);
  if (length < 0) return PSTR("message cut short");
  if (length != sizeof(provisioning)) return PSTR("message of another length");
  for (uint8_t i = 0; i < PROVISIONING_MESSAGE_BYTES; i++) {
    int16_t byte = await_byte(end);
    if (byte < 0) return PSTR("message cut short");
    message[i] = byte;
  }
  uint16_t crc = crc16_update(CRC16_INITIAL, length), sent;
  for (uint8_t i = 0; i < sizeof(provisioning); i++) crc = crc16_update(crc, message[i]);
  memcpy(&sent, message + sizeof(provisioning), sizeof sent);
  return sent == crc ? nullptr : PSTR("message damaged (CRC)");
}

static PGM_P store(const provisioning *record) {
  switch (provisioning_fault(record)) {
    case 0: break;
    case FAULT_PROVISIONING_MAGIC: return PSTR("message holds no provisioning record");
    case FAULT_PROVISIONING_VERSION: return PSTR("provisioning record is of another version");
    case FAULT_PROVISIONING_CRC: return PSTR("provisioning record is damaged (CRC)");
    default: return PSTR("provisioning record has a value out of range");
  }
  switch (provisioning_store(record)) {
    case PROVISIONING_STORED: return nullptr;
    case PROVISIONING_KEY_USED: return PSTR("key was in use and its boot epochs are lost, provision with a new key");
    case PROVISIONING_EPOCHS_LOST: return PSTR("record and boot epochs are unreadable, write the EEPROM with a programmer");
    default: return PSTR("EEPROM does not keep the record, replace the chip");
  }
}

bool provisioning_offer(uint8_t *scratch) {
  uint32_t end = timebase_ticks() + TICKS_FROM_MS(LISTEN_MS);
  const provisioning *record = (const provisioning *)scratch;
  console_listen();
  console_text(PSTR("uno ready for provisioning"));
  console_line_end();
  while (await_start(end)) {
    PGM_P wrong = receive(scratch, end);
    if (!wrong) wrong = store(record);
    if (!wrong) {
      console_text(PSTR("provisioned "));
      console_number(record->uno_id);
      console_line_end();
      return true;
    }
    console_text(PSTR("refused: "));
    console_text(wrong);
    console_line_end();
  }
  return false;
}
