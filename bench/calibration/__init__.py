"""What the gateway's software costs on a Pi: measured there, compared with published figures, kept in a
file.
"""
