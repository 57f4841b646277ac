/* Text to the UART at 115200 baud, 8N1, sent while the caller waits: for the few lines of a boot. */
#pragma once
#include <avr/pgmspace.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void console_begin(void);
void console_text(PGM_P text);
void console_number(uint32_t value);
/* Ends the line and waits until its last bit is out. */
void console_line_end(void);

#ifdef __cplusplus
}
#endif
