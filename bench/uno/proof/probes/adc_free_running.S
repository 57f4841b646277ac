/* Parameter: ADCSRA with all but ADIF set. A mark for each conversion. */
    handler_at ADC_vect_num, done
begin
    load_parameters
    select_sleep 0
    sei
    sts ADCSRA, r2
rest:
    sleep
    rjmp rest
done:
    mark
    reti
