"""One retryable step each: plain data in, one call into `aiinfra_core`, plain data out. No business rules here."""
