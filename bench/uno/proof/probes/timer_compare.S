/* Timer1 in normal mode without prescaling; parameter: OCR1A (below 200). The prescaler is reset, and TCNT1
 * written, before the clock is connected. Mark 1: one cycle after the clock was connected. Mark 2: from the handler
 * of the compare match. */
    handler_at TIMER1_COMPA_vect_num, seen
begin
    load_parameters
    sts OCR1AH, r14
    sts OCR1AL, r2
    ldi r17, 1 << OCIE1A
    sts TIMSK1, r17
    ldi r17, 1
    sei
    sts TCCR1B, r17
    mark
    .rept 40
    nop
    .endr
    call routine /* begins 41 cycles after the clock was connected */
routine:
    wait 250
halt:
    rjmp halt
seen:
    mark
    reti
