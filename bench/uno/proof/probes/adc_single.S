/* Parameters: ADCSRA with ADEN and ADIE, without ADSC; the same with ADSC; SMCR.
 *
 * The prescaler counts from ADEN, so its edges lie at multiples of 256 cycles from there whatever it divides by,
 * and a conversion asked for one cycle before such an edge starts at once.
 * Marks 1 and 3: the start of the first and of the second conversion. Marks 2 and 4: from the handler. */
    handler_at ADC_vect_num, done
begin
    load_parameters
    out SMCR, r4
    sei
    sts ADCSRA, r2
    wait 253
    sts ADCSRA, r3
    mark
    sleep
    /* The handler's mark came 12 cycles after ADIF, its RETI took 4 more: 239 + 16 = 255, less the STS. */
    wait 237
    sts ADCSRA, r3
    mark
    sleep
halt:
    rjmp halt
done:
    mark
    reti
