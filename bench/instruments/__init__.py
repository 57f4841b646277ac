"""Supply, power meter and step attenuator: drivers over VISA, and SCPI servers that model the instruments."""
