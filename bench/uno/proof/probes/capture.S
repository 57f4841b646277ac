/* Input capture of an edge that the program itself drives on ICP1. Parameters: TCCR1B; the level before the edge.
 * GPIOR1 at the mark: TCNT1L three cycles before the edge; GPIOR2: ICR1L. */
begin
    load_parameters
    ldi r17, 1
    out DDRB, r17
    out PORTB, r3
    wait 20
    eor r3, r17
    sts TCCR1B, r2
    wait 40
    ldi r17, 1 << ICF1
    out TIFR1, r17
    lds r18, TCNT1L     /* read in its second cycle: one cycle to its end, one nop, one OUT */
    nop
    out PORTB, r3
    wait 20
    lds r19, ICR1L
    out GPIOR1, r18
    out GPIOR2, r19
    mark
halt:
    rjmp halt
