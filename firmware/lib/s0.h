/* S0 pulse counting on up to twelve lines by pin-change interrupts.
 *
 * Line order: D3..D7, D8, A0..A5. An S0 output pulls its line low for 30 ms or more and leaves it high for 30 ms or more
 * (IEC 62053-31). Debounce: a level is believed once it has stood unchanged for S0_DEBOUNCE stamps (1.024 ms each, so
 * 9.2 to 10.3 ms); a pulse counts when a believed high is followed by a believed low. A level is judged when it ends or
 * when s0_settle() is called, so nothing has to run in between. A valid pulse is never lost while its bouncing takes
 * less than 19 ms at each end, and disturbances shorter than 9 ms never count. */
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { S0_LINES = 12, S0_DEBOUNCE = 10 };

/* Starts counting from 0 on the first `count` lines, leaving out the analog ones that `ac_count` AC channels take. A pulse in
 * progress is taken as counted. */
void s0_begin(uint8_t count, uint8_t ac_count);

/* Judges the levels that stand now. Call at least once a minute (stamps wrap after 67 s) and before reading. */
void s0_settle(void);

/* Cumulative pulses of a channel; counting goes on. */
uint32_t s0_pulses(uint8_t channel);
void s0_set_pulses(uint8_t channel, uint32_t pulses);

#ifdef __cplusplus
}
#endif
