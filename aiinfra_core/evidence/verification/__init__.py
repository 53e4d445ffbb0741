"""Checking an export directory alone: no database, no network, nothing believed but one pinned root of trust.

The steps, cited where they are done:

 1. trust: the pinned root leads, root by root, to `trust.json`: thresholds, expiry, and no version below one seen before.
 2. envelopes: every attestation is a DSSE envelope of an in-toto statement of a known type, under the name of its digest, PAE <= 4,096.
 3. signatures: each is signed, and every signature on it verifies with a key the trust root lists.
 4. keys: each key had the purpose, the environment and the time for what it signed when the log took it in, and was not compromised there.
 5. approvals: each promotion has as many distinct owners of each role behind it as its manifest, its policy or the trust root asks for,
    whichever is most; the requester is not among them, nor anybody the policy bars.
 6. subject: the bytes of `model/` have the digest that was registered, under the version that the log gave them.
 7. policy: each policy a promotion names by digest is here, the gate's recorded yes is about that policy, no other gate said no, and
    the policy's rules, judged again on what they saw, say yes; what they saw is what else is proven here.
 8. inputs: whatever a promotion or a registration leans on is here, verified, about the same bytes, and agrees with it.
 9. log: the checkpoint is signed, every entry is what its hash, its signature and its proof of inclusion say, and every attestation was
    taken in by an entry whose rows say the same.
10. consistency: the log continues the checkpoint that was seen before; nothing it held then is gone or changed.
11. sequence: in each environment the promotions rise from 1 without a gap, each linked to the one before and applied by an entry.
12. current: the export is fresh, and its last promotion is what the environment pointed to.
13. files: nothing in the directory was changed, added or taken away since the export was signed.
14. rollouts: what had to earn its traffic did: each move of its rollout is what a look says or somebody ordered and signed, and every
    verdict follows once more from its counts; what overrides a rollback or goes back may do so.

    verify       runs the steps and gives the report
    report       steps, outcomes, problems
    claims       2, 3, 4
    log          9, 10
    story        the verified claims and entries together, and finding one in the other
    approvals    5
    people       5, 7: who had which part in what was promoted
    records      6, 8: what the log's rows say against what was signed
    kept         8: the same for what was stated later: reproductions, scans, approvals, withdrawals
    policies     7
    recorded_inputs  7: what the rules saw against everything else
    sequence     11, 12
    rollouts     14: what leads from a manifest to the end of its rollout, and overrides and rollbacks
    rollout_moves  14: the entries of one rollout in their order
    directory    6, 13: the bytes of the model and every other file

A step looks only at what passed the steps it leans on; what did not is missing to it. Step 1 is `trust_root`'s.
"""
