/* The watchdog wakes the chip from a sleep mode. Parameters: WDTCSR with the change bits, WDTCSR with WDIE, SMCR.
 * Mark 1: one cycle after WDR. Mark 2: from the handler. The second WDR starts the period anew. */
    handler_at WDT_vect_num, seen
begin
    load_parameters
    wdr
    sts WDTCSR, r2
    sts WDTCSR, r3
    out SMCR, r4
    sei
    wdr
    mark
rest:
    sleep
    rjmp rest
seen:
    mark
    reti
