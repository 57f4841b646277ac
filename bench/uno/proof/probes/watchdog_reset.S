/* Parameters: WDTCSR with the change bits, WDTCSR with WDE. Mark 1: one cycle after WDR. Mark 2: nine cycles into
 * the life after the reset (JMP, CLR, IN, SBRC, RJMP, OUT). */
begin
    in r17, MCUSR
    sbrc r17, WDRF
    rjmp again
    load_parameters
    wdr
    sts WDTCSR, r2
    sts WDTCSR, r3
    select_sleep 0
    sei
    wdr
    mark
rest:
    sleep
    rjmp rest
again:
    mark
halt:
    rjmp halt
