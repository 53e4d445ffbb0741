#!/usr/bin/env bash
# Check the essentials of an export with bash, coreutils, jq and openssl (3 or newer) alone:  bash verify.sh DIR N.root.json
# N.root.json is the root of trust, got by another way than DIR; take this file, too, from a source you trust. One line a step, exit code
# 0 if everything below holds, else 1. Not here but in `aiinfra verify`: approvals, policies, rows of the log, consistency, freshness.
set -Eeuo pipefail
shopt -s globstar dotglob nullglob
export LC_ALL=C
(($# == 2)) || { echo "usage: bash verify.sh DIR N.root.json" >&2; exit 2; }
pinned=$(realpath -- "$2"); cd -- "$1"; tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
step="start"; trap 'echo "FAILED $step"; exit 1' ERR
ok() { echo "ok     $step"; }
fail() { echo "FAILED $step: $1" | tr -cd '[:print:]\n'; exit 1; }
hash_of() { local sum; sum=$(sha256sum); echo "${sum%% *}"; }
unhex() { local hex; read -r hex || true; basenc --base16 -d <<<"${hex^^}"; }
unb64() { base64 -d <<<"$1" >"$2" && [[ $(base64 -w0 "$2") == "$1" ]]; } # base64 in its one spelling
pem() { { echo "-----BEGIN PUBLIC KEY-----"; { echo -n 302A300506032B6570032100 | basenc --base16 -d; cat; } | base64 -w0; echo; echo "-----END PUBLIC KEY-----"; } }
signed_by() { openssl pkeyutl -verify -pubin -inkey "$1" -rawin -in "$2" -sigfile "$3" >/dev/null 2>&1; } # PEM, message, signature

# metadata, root that says who may sign it, role: as many distinct keys signed as the role's threshold asks for
tuf_signed() {
  local count=0 public sig
  jq -cSj .signed "$1" >"$tmp/signed"
  while read -r public sig; do
    unhex <<<"$public" | pem >"$tmp/pem"; unhex <<<"$sig" >"$tmp/sig" || continue
    if signed_by "$tmp/pem" "$tmp/signed" "$tmp/sig"; then count=$((count + 1)); fi
  done < <(jq -r --slurpfile root "$2" --arg role "$3" '.signatures as $s | $root[0].signed as $r
    | [$r.roles[$role].keyids[] | . as $id | {public: $r.keys[$id].keyval.public, sig: ($s[] | select(.keyid == $id) | .sig)}]
    | unique_by(.public)[] | "\(.public) \(.sig)"' "$1")
  ((count >= $(jq -r --arg role "$3" '.signed.roles[$role].threshold' "$2"))) || fail "$1 lacks signatures of the $3 role"
}
same_names() { # found, sums: byte-sorted, the same names in both
  cmp -s <(sort "$1") <(cut -c67- "$2") || fail "$2 lists other files: $(comm -3 <(sort "$1") <(cut -c67- "$2" | sort) | head -1)"
}
fresh() { [[ $(jq -r .signed.expires "$1") > $(date -u +%FT%TZ) ]] || fail "$1 has expired"; }

step="13 files: links and special files" # before anything is read: a pipe would be waited for
for path in **; do [[ ! -L $path && (-f $path || -d $path) ]] || fail "$path is a link or a special file"; done

step="1 trust: the pinned root leads to trust.json"
[[ $(jq -r .signed._type "$pinned") == root ]] || fail "the pinned file is no root"
root=$pinned; tuf_signed "$root" "$root" root; version=$(jq -r .signed.version "$root")
if [[ -e trust/$version.root.json ]]; then cmp -s <(jq -cS .signed "$root") <(jq -cS .signed "trust/$version.root.json") || fail "another root of that version"; fi
while next=trust/$((version + 1)).root.json; [[ -e $next ]]; do
  [[ $(jq -r '"\(.signed._type) \(.signed.version)"' "$next") == "root $((version + 1))" ]] || fail "$next has another version"
  tuf_signed "$next" "$root" root; tuf_signed "$next" "$next" root; root=$next; version=$((version + 1))
done
fresh "$root"; tuf_signed trust/targets.json "$root" targets; fresh trust/targets.json
[[ $(jq -r '.signed | "\(._type) \(.targets["trust.json"].hashes.sha256)"' trust/targets.json) == "targets $(hash_of <trust/trust.json)" ]] || fail "trust.json is another"
ok

step="13 files: nothing changed, added or taken away"
for path in **; do
  if [[ -d $path ]]; then inside=("$path"/*); ((${#inside[@]})) || fail "$path is empty"; continue; fi
  case $path in
    model/*) echo "${path#model/}" >>"$tmp/model" ;;
    FILES.SHA256 | export.dsse.json) ;;
    *) echo "$path" >>"$tmp/found" ;;
  esac
done
same_names "$tmp/found" FILES.SHA256
sha256sum --strict --quiet -c FILES.SHA256 >"$tmp/out" 2>&1 || fail "$(head -1 "$tmp/out")"
ok

step="6 subject: the bytes of model/ are those that SHA256SUMS lists"
same_names "$tmp/model" SHA256SUMS
(cd model && sha256sum --strict --quiet -c ../SHA256SUMS) >"$tmp/out" 2>&1 || fail "$(head -1 "$tmp/out")"
file_digest=$(cut -c1-64 SHA256SUMS); dir_digest=$(hash_of <SHA256SUMS)
ok

# envelope, time, index: its one signature is by a listed key with the purpose for it then and there; leaves the statement in $tmp/payload
opened() {
  cmp -s <(jq -cSj . "$1") "$1" || fail "$1 is not written as envelopes are"
  [[ $(jq -r '"\(keys | join(" ")) \(.payloadType) \(.signatures | length)"' "$1") == "payload payloadType signatures application/vnd.in-toto+json 1" ]] || fail "$1 is no envelope"
  unb64 "$(jq -r .payload "$1")" "$tmp/payload" || fail "$1 is not base64"
  unb64 "$(jq -r '.signatures[0].sig' "$1")" "$tmp/sig" || fail "$1 has no base64 signature"
  { printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(stat -c %s "$tmp/payload")"; cat "$tmp/payload"; } >"$tmp/pae"
  (($(stat -c %s "$tmp/pae") <= 4096)) || fail "$1 is too long"
  local key; key=$(jq -r '.signatures[0].keyid' "$1")
  jq -er --arg key "$key" --arg at "$2" --argjson index "$3" --slurpfile said "$tmp/payload" '$said[0] as $s
    | {"https://slsa.dev/provenance/v1": "artifact", "urn:ai-infra:attestation:registration:v1": "artifact",
       "urn:ai-infra:attestation:evaluation:v1": "evaluation", "urn:ai-infra:attestation:reproduction:v1": "evaluation",
       "urn:ai-infra:attestation:scan:v1": "artifact", "https://slsa.dev/verification_summary/v1": "promotion",
       "urn:ai-infra:attestation:approval:v1": "approval", "urn:ai-infra:attestation:withdrawal:v1": "approval",
       "urn:ai-infra:attestation:vouched-approval:v1": "vouching", "urn:ai-infra:attestation:vouched-withdrawal:v1": "vouching",
       "urn:ai-infra:attestation:export:v1": "audit"}[$s.predicateType] as $purpose
    | ($s.predicate.environment // $s.predicate["urn:ai-infra:attestation:promotion:v1"].environment) as $env
    | .keys[] | select(.keyid == $key and any(.purposes[]; . == $purpose))
    | select(.environments == null or $env == null or any(.environments[]; . == $env))
    | '"$good_then"' | .publicKey' trust/trust.json >"$tmp/key" || fail "$1 is signed by a key that might not"
  base64 -d <"$tmp/key" | pem >"$tmp/pem"
  [[ $(openssl pkey -pubin -in "$tmp/pem" -outform DER | hash_of) == "$key" ]] || fail "$key is not that key"
  signed_by "$tmp/pem" "$tmp/pae" "$tmp/sig" || fail "the signature on $1 does not verify"
}
# shellcheck disable=SC2016 # a jq program: times without fractions and zone compare as text, with them too
good_then='def t: if . == null then . else sub("Z$"; "") | if test("\\.") then . else . + ".000000" end end;
  select((.validFrom == null or (.validFrom | t) <= ($at | t)) and (.validUntil == null or ($at | t) < (.validUntil | t)))
  | select(.compromise == null or ($index != null and $index < .compromise.badFromIndex))'
audit_keys() { jq -r --arg at "$1" --argjson index "$2" '.keys[] | select(any(.purposes[]; . == "audit")) | '"$good_then"' | .publicKey' trust/trust.json; }
by_an_audit_key() { # message, signature, time, index
  local key; while read -r key; do base64 -d <<<"$key" | pem >"$tmp/pem"; if signed_by "$tmp/pem" "$1" "$2"; then return 0; fi; done < <(audit_keys "$3" "$4"); return 1
}

step="9 log: the checkpoint is signed, and every entry is in its tree"
mapfile -t note <checkpoint; origin=${note[0]} size=${note[1]} log_root=${note[2]}; head -n 3 checkpoint >"$tmp/note"
[[ $size =~ ^[1-9][0-9]{0,17}$ && ${#note[@]} == 5 && -z ${note[3]} && ${note[4]} == "— $origin "* ]] || fail "checkpoint is malformed"
jq -e --arg origin "$origin" 'any(.logs[]; . == $origin)' trust/trust.json >/dev/null || fail "its log is not listed in the trust root"
last=events/$(printf '%020d' "$size").json; [[ -e $last ]] || fail "$last is missing"; last_at=$(jq -r .created_at "$last")
unb64 "${note[4]##* }" "$tmp/line" && tail -c +5 "$tmp/line" >"$tmp/sig"
by_an_audit_key "$tmp/note" "$tmp/sig" "$last_at" "$((size - 1))" || fail "no audit key signed the checkpoint"
node() { { printf '\x01'; unhex <<<"$1$2"; } | hash_of; }
for event in events/*.json; do
  seq=$((10#$(basename "$event" .json))); proof=proofs/$(basename "$event" .json).tlog-proof
  read -r said made hash signature previous < <(jq -r '"\(.seq) \(.created_at) \(.hash) \(.signature) \(.prev_hash // "")"' "$event")
  [[ $said == "$seq" ]] || fail "$event is of another place"
  [[ $({ jq -j .payload "$event"; unhex <<<"$previous"; } | hash_of) == "$hash" ]] || fail "the hash of $event is another"
  unhex <<<"$hash" >"$tmp/hash"; unb64 "$signature" "$tmp/sig" || fail "$event has no signature"
  by_an_audit_key "$tmp/hash" "$tmp/sig" "$made" "$((seq - 1))" || fail "no audit key signed $event"
  mapfile -t lines <"$proof"; hashes=("${lines[@]:2:${#lines[@]}-8}")
  [[ "${lines[0]} ${lines[1]} ${lines[-6]}" == "c2sp.org/tlog-proof@v1 index $((seq - 1)) " ]] || fail "$proof is malformed, or of another entry"
  cmp -s <(tail -n 5 "$proof") checkpoint || fail "$proof leads to another checkpoint"
  at=$((seq - 1)) end=$((size - 1)) found=$({ printf '\x00'; cat "$event"; } | hash_of)
  for hash in "${hashes[@]}"; do
    ((end > 0)) || fail "$proof is too long"
    unb64 "$hash" "$tmp/hash" || fail "$proof holds what is no hash"
    sibling=$(basenc --base16 -w0 "$tmp/hash")
    if ((at & 1)) || ((at == end)); then
      found=$(node "$sibling" "$found")
      while ((at > 0 && !(at & 1))); do at=$((at >> 1)) end=$((end >> 1)); done
    else found=$(node "$found" "$sibling"); fi
    at=$((at >> 1)) end=$((end >> 1))
  done
  ((end == 0)) && [[ $(unhex <<<"$found" | base64 -w0) == "$log_root" ]] || fail "$proof does not lead to the checkpoint"
done
proofs=(proofs/*) events=(events/*); ((${#proofs[@]} == ${#events[@]})) || fail "a proof is of no entry"
ok

step="2-4 envelopes, signatures, keys: each attestation is taken in by the log and signed by a key that might"
jq -c '(.payload | fromjson) as $said | {seq, created_at, event_type, took: $said.rows.attestations, manifest: $said.digests.manifest}' \
  events/*.json >"$tmp/events"
for file in attestations/*; do
  digest=$(basename "$file" .dsse.json)
  taken=$(jq -r --arg digest "$digest" --arg sha "$(hash_of <"$file")" --argjson size "$(stat -c %s "$file")" \
    'select(.took.digest == $digest and .took.envelope == {sha256: $sha, size: $size}) | "\(.seq) \(.created_at)"' "$tmp/events")
  [[ -n $taken ]] || fail "no entry took $file in"
  read -r seq at <<<"$taken"; opened "$file" "$at" "$((seq - 1))"
  [[ $(hash_of <"$tmp/payload") == "$digest" ]] || fail "the digest of $file is another"
  jq -cS --arg digest "$digest" '. + {digest: $digest}' "$tmp/payload" >>"$tmp/statements"
done
ok

step="6, 8, 11 links: promotions rise, follow each other, were applied, and lean on statements about the same bytes"
jq -es '(map({key: .digest, value: .}) | from_entries) as $all | [.[] | select(.predicateType == "https://slsa.dev/verification_summary/v1")]
  | all(.[]; . as $p | all(.predicate.inputAttestations[].digest.sha256; $all[.].subject == $p.subject))
  and (group_by(.predicate["urn:ai-infra:attestation:promotion:v1"].environment)
    | all(.[]; sort_by(.predicate["urn:ai-infra:attestation:promotion:v1"].sequence) | . as $chain
      | all(range(length); . as $n | $chain[$n].predicate["urn:ai-infra:attestation:promotion:v1"]
        | .sequence == $n + 1 and .follows == (if $n == 0 then null else $chain[$n - 1].digest end))))' "$tmp/statements" >/dev/null || fail "a link is broken"
jq -es '(map({key: .digest, value: .}) | from_entries) as $all | all(.[] | select(.predicateType == "urn:ai-infra:attestation:registration:v1");
  .predicate.trainingAttestation as $t | $t == null or $all[$t].subject == .subject)' "$tmp/statements" >/dev/null || fail "a training is missing or of other bytes"
jq -es --slurpfile events "$tmp/events" 'all(.[] | select(.predicateType == "https://slsa.dev/verification_summary/v1") | .digest;
  . as $digest | any($events[]; .event_type == "promotion.applied" and .manifest == $digest))' "$tmp/statements" >/dev/null || fail "one was not applied"
ok

step="export: its statement is signed and about these files, these bytes and this checkpoint"
base64 -d <<<"$(jq -r .payload export.dsse.json)" >"$tmp/claimed"
opened export.dsse.json "$(jq -r .predicate.exportedAt "$tmp/claimed")" null
jq -e --arg files "$(hash_of <FILES.SHA256)" --arg file "$file_digest" --arg dir "$dir_digest" --arg origin "$origin" --argjson size "$size" \
  --arg root "$(base64 -d <<<"$log_root" | basenc --base16 -w0 | tr A-F a-f)" --arg last_at "$last_at" --slurpfile all "$tmp/statements" '. as $e | .predicate as $p
  | .predicateType == "urn:ai-infra:attestation:export:v1" and $p.files == $files and $p.head == {origin: $origin, size: $size, root: $root}
  and (.subject[0].digest == {sha256: $file} or .subject[0].digest == {dirHash: $dir})
  and any($all[]; .predicateType == "urn:ai-infra:attestation:registration:v1" and .subject == $e.subject and .predicate.artifactId == $p.artifactId)
  and ($p.exportedAt >= $last_at) and ($p.current == null) == ($p.environment == null)
  and ($p.current == null or any($all[]; .digest == $p.current.manifest and .subject == $e.subject
    and .predicate.resourceUri == "mlmodel://\($p.model)/\($p.version)?env=\($p.environment)"
    and .predicate["urn:ai-infra:attestation:promotion:v1"].sequence == $p.current.sequence)
    and all($all[]; .predicate.inputAttestations == null or .predicate["urn:ai-infra:attestation:promotion:v1"].sequence <= $p.current.sequence))
' "$tmp/payload" >/dev/null || fail "it says otherwise"
ok
jq -r '.predicate | "\(.model):\(.version)\(if .environment then " was current in \(.environment)" else "" end) as of log entry \(.head.size), exported \(.exportedAt)"' "$tmp/payload" | tr -cd '[:print:]\n'
