"""What an auditor can read and run alone: no SQL, no HTTP, no settings.

`statements` builds what is claimed, `statement` is the in-toto frame around a claim and reads it back, `predicates` holds the
shapes; `dsse` wraps the exact bytes in a signed envelope and opens it again. A claim is always read out of an opened envelope,
never out of bytes that were not verified. `bundle` is the layout of an export directory, `verification` the steps that check one.
"""
