/* Provisioning record: what makes one Uno this Uno, at the start of the EEPROM. Written by bench/uno/provisioning.py.
 *
 * EEPROM map (1024 bytes):
 *     0 ..   49  this record, little-endian, as laid out in struct provisioning
 *    50 ..   53  mark of the key given up last (provisioning_store)
 *    54 ..   63  unused
 *    64 ..   79  boot epoch slots (firmware/lib/epoch.h)
 *    80 ..   95  unused
 *    96 ..  991  register journal (firmware/lib/journal.h)
 *   992 .. 1023  unused */
#pragma once
#include <stdint.h>

#include "marker.h"

enum { PROVISIONING_ADDRESS = 0, PROVISIONING_VERSION = 1 };

struct provisioning {
  char magic[4];                      /*  0  "METR" */
  uint8_t version;                    /*  4  1 */
  uint8_t s0_count;                   /*  5  0..12, less two for each AC channel */
  uint8_t ac_count;                   /*  6  0..2; at least one channel in all */
  uint8_t journal_intervals;          /*  7  intervals between register saves, 1..255 */
  uint16_t uno_id;                    /*  8 */
  uint16_t interval_s;                /* 10  1..65535 */
  uint8_t key[16];                    /* 12  Ascon-AEAD128 key */
  uint32_t frequency_hz;              /* 28  137000000..525000000 */
  uint8_t spreading_factor;           /* 32  7..12 */
  uint8_t bandwidth;                  /* 33  SX1278 code, 0 = 7.8 kHz .. 7 = 125 .. 9 = 500 */
  uint8_t coding_rate;                /* 34  1..4 for 4/5..4/8 */
  int8_t power_dbm;                   /* 35  2..17, PA_BOOST */
  uint8_t sync_word;                  /* 36 */
  uint8_t spare;                      /* 37  0 */
  uint16_t ack_timeout_ms;            /* 38  1..65535, from TxDone */
  struct {
    uint16_t microvolts_per_volt;     /* 40, 44  at the pin; not 0 for a channel in use */
    uint16_t microvolts_per_ampere;   /* 42, 46 */
  } scale[2];
  uint16_t crc;                       /* 48  CRC-16/CCITT-FALSE of bytes 0..47 */
};

/* What keeps a record from being used: 0 or the fault found. */
uint8_t provisioning_fault(const struct provisioning *record);

/* Loads and checks the record: 0 or the fault found. */
uint8_t provisioning_load(struct provisioning *record);

enum provisioning_outcome { PROVISIONING_STORED, PROVISIONING_KEY_USED, PROVISIONING_EPOCHS_LOST, PROVISIONING_NOT_KEPT };

/* Replaces the record by another without fault and forgets the registers. Wherever the power goes, the EEPROM holds the
 * old record, none, or the new one whole: its first byte is taken away first and written last.
 *
 * The boot epochs go on, so that no nonce of any key is used again. Where both slots are unreadable they can begin anew,
 * but only for a key other than the one that has used them; that key is marked as given up and refused from then on. */
uint8_t provisioning_store(const struct provisioning *record);
