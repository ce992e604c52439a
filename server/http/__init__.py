"""HTTP without a server: what both transports and all handlers share. No Tornado here."""
