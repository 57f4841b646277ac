/* Parameters: TCCR1A, TCCR1B, OCR1AH, OCR1AL, ICR1H, ICR1L, TIMSK1. A mark for each interrupt.
 * OCR1A is written before the mode is chosen, where it is not buffered; ICR1 after, where it is writable. */
    handler_at TIMER1_CAPT_vect_num, seen
    handler_at TIMER1_COMPA_vect_num, seen
    handler_at TIMER1_OVF_vect_num, seen
begin
    load_parameters
    select_sleep 0
    sts OCR1AH, r4
    sts OCR1AL, r5
    sts TCCR1A, r2
    mov r17, r3
    andi r17, ~7
    sts TCCR1B, r17
    sts ICR1H, r6
    sts ICR1L, r7
    sts TIMSK1, r8
    sei
    sts TCCR1B, r3
rest:
    sleep
    rjmp rest
seen:
    mark
    reti
