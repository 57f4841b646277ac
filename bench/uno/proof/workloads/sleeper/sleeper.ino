/* Sleeps in loop() as Arduino sketches do: the core's Timer0 tick, 976 a second, wakes it, and a LED blinks each second.
 * EEPROM: how many wake-ups, u32; whether Timer1 and Timer2 run on as the core sets them up for PWM, u8. GPIOR0: 1 at the beginning,
 * 2 at the end, when `result` sums up what millis() told. */
#include <avr/eeprom.h>
#include <avr/sleep.h>

uint32_t result[2];
static uint32_t wake_ups, last_blink;

void setup() {
  pinMode(LED_BUILTIN, OUTPUT);
  wake_ups = eeprom_read_dword((const uint32_t *)0);
  if (!eeprom_read_byte((const uint8_t *)4)) TCCR1B = TCCR2B = 0;
  GPIOR0 = 1;
}

void loop() {
  sleep_mode();
  uint32_t now = millis();
  result[0] = (result[0] << 5) - result[0] + now;
  if (now - last_blink >= 1000) {
    last_blink += 1000;
    digitalWrite(LED_BUILTIN, !digitalRead(LED_BUILTIN));
    result[1] += digitalRead(LED_BUILTIN) + 1;
  }
  if (!--wake_ups) GPIOR0 = 2;
}
