"""HTTP without a server: code that both transports and the handlers use; no Tornado here."""
