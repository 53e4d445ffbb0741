"""A trust directory and what is done to it.

    N.root.json           every root so far
    targets.json          what counts now, signed by the targets key
    trust.json            what it names; DIGEST.trust.json is the same, and earlier ones
    pending/              N.root.json that does not count yet, because signatures are missing

- `changing`     made, changed, rotated, signed by several people
- `directory`    its files: each whole or not there, one writer at a time
- `publishing`   into the artifact store, and told in the audit log

Making the contents lives in `evidence.trust_editing` and `evidence.root_editing`, reading them every day in `trust_directory`.
"""
