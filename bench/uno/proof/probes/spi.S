/* Parameters: SPSR, SPCR. Mark 1: one cycle after SPDR was written. Mark 2: from the handler. */
    handler_at SPI_STC_vect_num, done
begin
    load_parameters
    ldi r17, (1 << DDB2) | (1 << DDB3) | (1 << DDB5)
    out DDRB, r17
    select_sleep 0
    out SPSR, r2
    out SPCR, r3
    sei
    out SPDR, r17
    mark
rest:
    sleep
    rjmp rest
done:
    mark
    reti
