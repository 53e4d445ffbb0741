// Verifies Sigstore bundles with @sigstore/verify and the keys of one file {hint: base64 of the SubjectPublicKeyInfo}.
//   node verify.cjs KEYS BUNDLE...
// Prints a JSON list: for each bundle null when it is accepted, or why it is refused.
const { readFileSync } = require("node:fs");
const { bundleFromJSON } = require("@sigstore/bundle");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");

const [keysFile, ...bundles] = process.argv.slice(2);
const keys = Object.fromEntries(
  Object.entries(JSON.parse(readFileSync(keysFile, "utf8"))).map(([hint, spki]) => [hint, { rawBytes: Buffer.from(spki, "base64") }]),
);
const nobody = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
const verifier = new Verifier(toTrustMaterial(nobody, keys), { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0 });

function refusal(file) {
  const text = readFileSync(file, "utf8");
  try {
    verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(text))));
    return null;
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

console.log(JSON.stringify(bundles.map(refusal)));
