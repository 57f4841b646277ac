"""The VPN between a Pi and the server: WireGuard, and the way under it that can be hampered on purpose."""
