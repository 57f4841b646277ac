/* Provisioning over the console: what a board without an ISP programmer is commissioned with.
 *
 * After a reset that someone may have made for this purpose the Uno says "uno ready for provisioning" and listens for
 * half a second after each byte, ten seconds at most. A message: 0xa5 0x5a, length 50, the record as struct provisioning,
 * and CRC-16/CCITT-FALSE of length and record, low byte first. The answer is a line: "provisioned 17", with the id,
 * or "refused: ..." with the reason, after which it listens on. Keys are never said. */
#pragma once
#include <stdint.h>

enum { PROVISIONING_MESSAGE_BYTES = 50 + 2 }; /* record and CRC */

/* Listens; true when another record was stored. `scratch` has room for PROVISIONING_MESSAGE_BYTES. */
bool provisioning_offer(uint8_t *scratch);
