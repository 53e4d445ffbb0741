#!/bin/sh
# Print a new Ed25519 private key for AI_INFRA_SIGNER_KEY_B64: base64 of its 32-byte seed, which is any 32 random bytes (RFC 8032).
# Needs openssl only; `aiinfra keys generate` prints the same form. It is kept nowhere: put it where your secrets are.
#
#   export AI_INFRA_SIGNER_KEY_B64="$(scripts/generate-ed25519-key.sh)"
set -eu
openssl rand -base64 32
