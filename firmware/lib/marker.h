/* Markers: one-byte codes written to GPIOR0 with a 16-bit argument in GPIOR2:GPIOR1.
 *
 * A marker costs six cycles and does nothing on silicon; the bench stops on the write to GPIOR0, notes
 * the cycle and reads the argument. Mirrored by bench/uno/marker.py. Only main-loop code marks: an interrupt
 * in between must not find the argument registers in use. */
#pragma once
#include <avr/io.h>
#include <stdint.h>

enum marker {
  MARKER_BOOT = 1,       /* boot epoch & 0xffff */
  MARKER_SNAPSHOT = 2,   /* counter; the plaintext lies at frame_plaintext */
  MARKER_DROPPED = 3,    /* counter of the oldest frame, overwritten because the ring was full */
  MARKER_SENT = 4,       /* counter; the transmitter was just switched on */
  MARKER_ACKED = 5,      /* counter; the frame has left the ring */
  MARKER_SEAL_BEGIN = 6,
  MARKER_SEAL_END = 7,
  MARKER_FAULT = 8,      /* enum fault */
  MARKER_JOURNAL = 9     /* low bits of the journal record's sequence number */
};

enum fault {
  FAULT_PROVISIONING_MAGIC = 1,   /* EEPROM holds no provisioning record */
  FAULT_PROVISIONING_VERSION = 2,
  FAULT_PROVISIONING_CRC = 3,
  FAULT_PROVISIONING_VALUE = 4,   /* a field is out of its range */
  FAULT_EPOCH_LOST = 5,           /* neither epoch slot is readable: a nonce might be used again */
  FAULT_EPOCH_WRITE = 6,          /* the EEPROM did not take the new epoch */
  FAULT_RADIO_ABSENT = 7,         /* SX1278 does not answer with its version */
  FAULT_RADIO_STUCK = 8,          /* no TxDone long after the longest time on air */
  FAULT_COUNTER_SPENT = 9         /* 2^32 - 1 frames in one boot */
};

static inline void marker(uint8_t code, uint16_t argument) {
  GPIOR1 = (uint8_t)argument;
  GPIOR2 = (uint8_t)(argument >> 8);
  GPIOR0 = code;
}
