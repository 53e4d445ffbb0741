"""Signatures: pure Ed25519 over exact bytes, never a pre-hash.

`public_key` (pure) verifies and names keys; `signer` says what a signer is and checks every signature before it is used;
`load` picks the back end by URI: `local` (a key in the environment or in a file) or `http_proxy` (a KMS behind `POST /sign`).
Which signer the operator configured is decided in `aiinfra_core.keys`.
"""
