"""Signatures: pure Ed25519 over exact bytes, never a pre-hash.

`public_key` (pure) verifies and names keys; `signer` says what a signer is and checks every signature before it is used;
`load` picks the back end by URI (`uri`): `local` (a key in the environment or in a file), `http_proxy` (a KMS behind `POST /sign`),
`aws_kms`, `vault` (HashiCorp Vault, OpenBao) or `pkcs11` (a token). `secret_file` reads keys, PINs and tokens.
Which signer the operator configured is decided in `aiinfra_core.keys`.
"""
