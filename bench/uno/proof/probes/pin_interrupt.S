/* An edge that the program drives on a pin of its own. Parameters: EICRA, EIMSK, PCICR, PCMSK0, PCMSK1, PCMSK2,
 * levels before the edge on ports B, C, D, and levels after it. Mark 1: two cycles before the edge (an OUT to the
 * port that has it follows an OUT that changes nothing). Mark 2: from the handler. */
    handler_at INT0_vect_num, seen
    handler_at INT1_vect_num, seen
    handler_at PCINT0_vect_num, seen
    handler_at PCINT1_vect_num, seen
    handler_at PCINT2_vect_num, seen
begin
    load_parameters
    ldi r17, 0xff
    out PORTB, r8
    out PORTC, r9
    out PORTD, r10
    out DDRB, r17
    out DDRC, r17
    out DDRD, r17
    wait 20
    sts EICRA, r2
    out EIMSK, r3
    sts PCICR, r4
    sts PCMSK0, r5
    sts PCMSK1, r6
    sts PCMSK2, r7
    wait 20
    out EIFR, r17
    out PCIFR, r17
    sei
    mark
#if PORT == 0
    nop
    out PORTB, r11
#elif PORT == 1
    nop
    out PORTC, r12
#else
    nop
    out PORTD, r13
#endif
    wait 40
halt:
    rjmp halt
seen:
    mark
    reti
