/* Boot epoch: a number that no two boots share, so that (id, epoch, counter) is never used twice as a nonce.
 *
 * Two EEPROM slots of { epoch u32, crc16 over it u16, spare u16 }, little-endian. Rule: an epoch is used only while the slots hold
 * it and its predecessor. A boot overwrites the older slot with newest + 1, reads it back, and only then returns it.
 *   - Power cut while writing: that slot is unreadable or holds the new number unused; the other one is intact.
 *   - One slot unreadable with the other at v: the lost one held at most v + 1. The boot takes v + 2 and brings the other
 *     slot to v + 1 before use, which restores the rule.
 *   - Both unreadable: no safe number is known. The boot must not send. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { EPOCH_ADDRESS = 64, EPOCH_SLOT_BYTES = 8 };

enum epoch_result { EPOCH_READY, EPOCH_LOST, EPOCH_NOT_WRITTEN };

enum epoch_result epoch_begin(uint32_t *epoch);

/* Whether a slot is readable, so that a safe number can be found. */
bool epoch_is_known(void);

/* Fills both slots as on a new chip: only for a key that this chip has never used. False: the EEPROM does not keep them. */
bool epoch_begin_anew(void);

#ifdef __cplusplus
}
#endif
