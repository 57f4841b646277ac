/* The UART at 115200 baud, 8N1, for the few lines of a boot: text is sent while the caller waits, and what arrives is
 * fetched by the caller before the chip's buffer of two bytes runs over, which takes 170 us. */
#pragma once
#include <avr/pgmspace.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sends only: the receiver is off. */
void console_begin(void);
/* Sends and receives. */
void console_listen(void);
/* The next byte received, or -1 when there is none. */
int16_t console_take(void);
void console_text(PGM_P text);
void console_number(uint32_t value);
/* Ends the line and waits until its last bit is out. */
void console_line_end(void);

#ifdef __cplusplus
}
#endif
