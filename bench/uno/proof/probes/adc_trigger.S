/* Parameters: ADCSRA to start the first conversion by software; ADCSRA with ADATE, ADIE and ADIF (to clear it).
 * Timer1's compare match B is the trigger. Mark 1: the trigger flag, as seen by its handler. Mark 2: ADIF, likewise. */
    handler_at TIMER1_COMPB_vect_num, seen
    handler_at ADC_vect_num, seen
begin
    load_parameters
    sts ADCSRA, r2
first:
    lds r17, ADCSRA
    sbrs r17, ADIF
    rjmp first
    ldi r17, (1 << ADTS2) | (1 << ADTS0)
    sts ADCSRB, r17
    sts ADCSRA, r3
    ldi r17, 200
    sts OCR1BH, r14
    sts OCR1BL, r17
    ldi r17, 1 << OCIE1B
    sts TIMSK1, r17
    sei
    sts TCNT1H, r14
    sts TCNT1L, r14
    ldi r17, 1
    sts TCCR1B, r17
    wait 2500
halt:
    rjmp halt
seen:
    mark
    reti
