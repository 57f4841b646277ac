/* ADC noise reduction: SLEEP itself starts the conversion. Parameters and alignment as in adc_single.S.
 * Marks 1 and 3: two cycles before the conversion starts. Marks 2 and 4: from the handler. */
    handler_at ADC_vect_num, done
begin
    load_parameters
    out SMCR, r4
    sei
    sts ADCSRA, r2
    wait 253
    mark
    sleep
    wait 237
    mark
    sleep
halt:
    rjmp halt
done:
    mark
    reti
