/* A request that waits while interrupts are off. Mark 1: before SEI. Mark 2: first instruction of the handler.
 * Mark 3: the first instruction after RETI. */
    handler_at TIMER1_COMPA_vect_num, seen
begin
    ldi r17, 1 << OCIE1A
    sts TIMSK1, r17
    ldi r17, 1
    sts TCCR1B, r17
    wait 10
    sts TCCR1B, r14
    mark
    sei
    nop
    mark
halt:
    rjmp halt
seen:
    mark
    reti
