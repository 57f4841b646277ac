/* Makes the DATA frame of one reading and judges one packet as its ACK.
 * EEPROM: key 16, uno_id u16, epoch u32, counter u32 (little-endian), text length, text 61, packet 19. */
#include <avr/interrupt.h>
#include <avr/sleep.h>

#include "eeprom.h"
#include "frame.h"
#include "marker.h"

uint8_t data[FRAME_HEADER_BYTES + FRAME_MAX_PLAINTEXT_BYTES + FRAME_TAG_BYTES];
bool acknowledged;

int main(void) {
  struct {
    uint8_t key[16];
    uint16_t uno_id;
    uint32_t epoch, counter;
    uint8_t length;
    uint8_t text[FRAME_MAX_PLAINTEXT_BYTES];
    uint8_t packet[FRAME_ACK_BYTES];
  } input;
  eeprom_load(&input, 0, sizeof input);
  frame_header(data, FRAME_DATA, input.uno_id, input.epoch, input.counter);
  for (uint8_t i = 0; i < input.length; i++) data[FRAME_HEADER_BYTES + i] = input.text[i];
  frame_seal(data, input.key, data + FRAME_HEADER_BYTES, input.length);
  marker(MARKER_SEAL_BEGIN, 0);
  acknowledged = frame_acknowledges(input.packet, data, input.key);
  marker(MARKER_SEAL_END, 0);
  sleep_enable();
  cli();
  sleep_cpu();
}
