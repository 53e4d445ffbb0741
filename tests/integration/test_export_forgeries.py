"""Whoever makes the export holds the audit key and lies: what was signed before, and the log, still tell."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from aiinfra_core import canonical_json
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.evidence import bundle, dsse, statement
from aiinfra_core.evidence.predicates import EVALUATION, PROMOTION, REGISTRATION, TRAINING
from aiinfra_core.keys import loaded_signer
from tests.simulators import exports
from tests.simulators.exports import TARGETS_KEY, Known, checked, copied, problems, signed_again

known = exports.known
Forge = Callable[[Path, Known], dict[str, object]]


def _statements(folder: Path, predicate_type: str) -> list[tuple[Path, dict[str, object]]]:
    found = []
    for path in sorted((folder / "attestations").iterdir()):
        said = json.loads(dsse.parse(path.read_bytes()).payload)
        if said["predicateType"] == predicate_type:
            found.append((path, said))
    return found


def _promotions(folder: Path) -> list[Path]:
    said = {path: value["predicate"] for path, value in _statements(folder, PROMOTION)}
    return sorted(said, key=lambda path: said[path]["urn:ai-infra:attestation:promotion:v1"]["sequence"])  # type: ignore[index]


def _gone(folder: Path, path: Path) -> None:
    path.unlink()
    (folder / bundle.sigstore_name(path.name.removesuffix(".dsse.json"))).unlink()


def _cut_the_last_promotion(folder: Path, known: Known) -> dict[str, object]:
    *_, before, last = _promotions(folder)
    _gone(folder, last)
    *others, _ = sorted((folder / "events").iterdir())  # without the last one nothing tells the checkpoint's time
    for path in others:
        if last.name[:64] in path.read_text():
            path.unlink()
            (folder / bundle.proof_name(int(path.stem))).unlink()
    return {"current": {"sequence": 2, "manifest": before.name[:64]}}


def _leave_a_promotion_out(folder: Path, known: Known) -> dict[str, object]:
    _gone(folder, _promotions(folder)[1])
    return {}


def _leave_an_input_out(predicate_type: str) -> Forge:
    def leave_out(folder: Path, known: Known) -> dict[str, object]:
        _gone(folder, _statements(folder, predicate_type)[0][0])
        return {}

    return leave_out


def _another_model(folder: Path, known: Known) -> dict[str, object]:
    shutil.rmtree(folder / "model")
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_text("others")
    return {}


def _another_artifact(folder: Path, known: Known) -> dict[str, object]:
    other = next(said["predicate"] for _, said in _statements(folder, REGISTRATION))
    claimed = json.loads(dsse.parse((folder / bundle.STATEMENT).read_bytes()).payload)["predicate"]["artifactId"]
    ids = {said["predicate"]["artifactId"] for _, said in _statements(folder, REGISTRATION)}  # type: ignore[index]
    assert other is not None
    return {"artifactId": (ids - {claimed}).pop()}


def _no_entry(folder: Path, known: Known) -> dict[str, object]:
    first = min((folder / "events").iterdir())
    first.unlink()
    (folder / bundle.proof_name(int(first.stem))).unlink()
    return {}


def _another_policy(folder: Path, known: Known) -> dict[str, object]:
    (path,) = (folder / "policies").iterdir()
    path.write_bytes(canonical_json.dumps({"minimum": "0.1", "rule": "evaluation.quality >= minimum"}))
    return {}


def _another_training(folder: Path, known: Known) -> dict[str, object]:
    path = next((folder / "training").iterdir())
    path.write_bytes(path.read_bytes().replace(b'"seed":', b'"seed":1'))
    return {}


def _an_older_checkpoint(folder: Path, known: Known) -> dict[str, object]:
    shutil.copy(known.older / bundle.CHECKPOINT, folder / bundle.CHECKPOINT)
    return {}


def _an_unlogged_promotion(folder: Path, known: Known) -> dict[str, object]:
    last = _promotions(folder)[-1]
    said = json.loads(dsse.parse(last.read_bytes()).payload)
    said["predicate"]["urn:ai-infra:attestation:promotion:v1"] |= {"sequence": 4, "follows": last.name[:64]}
    payload = canonical_json.dumps(said)
    signer = loaded_signer(known.settings, Purpose.PROMOTION)
    digest = statement.digest(payload)
    (folder / bundle.attestation_name(digest)).write_bytes(dsse.sign(payload, signer))
    return {"current": {"sequence": 4, "manifest": digest}}


def _a_promotion_of_another_model(folder: Path, known: Known) -> dict[str, object]:
    for name in ("attestations", "bundles", "events", "proofs"):
        shutil.copytree(known.other / name, folder / name, dirs_exist_ok=True)
    return {"current": {"sequence": 1, "manifest": _promotions(known.other)[0].name[:64]}}


def _a_policy_nobody_named(folder: Path, known: Known) -> dict[str, object]:
    (folder / bundle.policy_name("ab" * 32)).write_text("{}")
    return {}


def _says(changes: dict[str, object]) -> Forge:
    def says(folder: Path, known: Known) -> dict[str, object]:
        return changes

    return says


def _without(name: str) -> Forge:
    def without(folder: Path, known: Known) -> dict[str, object]:
        (folder / name).unlink()
        return {}

    return without


FORGERIES: dict[str, tuple[Forge, set[int]]] = {
    "the last promotion is cut off": (_cut_the_last_promotion, {11}),
    "a promotion in between is left out": (_leave_a_promotion_out, {11}),
    "a registration is left out": (_leave_an_input_out(REGISTRATION), {8}),
    "a training is left out": (_leave_an_input_out(TRAINING), {8}),
    "an evaluation is left out": (_leave_an_input_out(EVALUATION), {8}),
    "other bytes in model/": (_another_model, {6}),
    "another version's id": (_another_artifact, {6}),
    "an entry of the log is left out": (_no_entry, {9}),
    "the checkpoint is an older one": (_an_older_checkpoint, {9}),
    "another policy under the same name": (_another_policy, {7}),
    "a policy nobody named": (_a_policy_nobody_named, {7}),
    "another training under the same name": (_another_training, {8}),
    "a promotion the log never took in": (_an_unlogged_promotion, {9, 4}),
    "the current promotion is another model's": (_a_promotion_of_another_model, {11}),
    "another version": (_says({"version": 2}), {11, 13}),
    "another environment": (_says({"environment": "staging"}), {11}),
    "another sequence": (_says({"current": {"sequence": 2, "manifest": "ab" * 32}}), {11}),
    "another size of the log": (_says({"head": {"origin": "ai-infra.local/audit", "size": 3, "root": "ab" * 32}}), {13}),
    "made before its log": (_says({"exportedAt": "2020-01-01T00:00:00.000000Z"}), {13}),
    "no checkpoint": (_without(bundle.CHECKPOINT), {9}),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_lie_of_whoever_exports_is_found_at_the_step_that_is_about_it(known: Known, tmp_path: Path, name: str) -> None:
    forge, steps = FORGERIES[name]
    folder = copied(known.export, tmp_path / "forged")
    report = checked(signed_again(folder, known.settings, **forge(folder, known)), known.pinned)
    failed = {step.number for step in report.steps.values() if step.failed}
    assert steps <= failed, problems(report)
    assert not report.passed


def test_a_statement_signed_anew_over_the_same_files_verifies(known: Known, tmp_path: Path) -> None:
    folder = copied(known.export, tmp_path / "same")
    assert problems(checked(signed_again(folder, known.settings), known.pinned)) == []


def test_files_of_two_exports_do_not_mix(known: Known, tmp_path: Path) -> None:
    for name in (bundle.STATEMENT, bundle.CHECKPOINT, bundle.FILES, "events", "proofs", "attestations"):
        folder = copied(known.export, tmp_path / name)
        path, other = folder / name, known.older / name
        if path.is_dir():
            shutil.rmtree(path)
            shutil.copytree(other, path)
        else:
            shutil.copy(other, path)
        assert not checked(folder, known.pinned).passed, name


def test_a_key_listed_under_two_ids_or_owners_is_refused_however_well_the_list_is_signed(known: Known, tmp_path: Path) -> None:
    for number, change in enumerate(({"owner": "another"}, {"owner": "another", "keyid": "ab" * 32})):
        folder = copied(known.export, tmp_path / str(number))
        trust = json.loads((folder / "trust/trust.json").read_bytes())
        trust["keys"].append(trust["keys"][0] | change)
        (folder / "trust/trust.json").write_bytes(canonical_json.dumps(trust))
        targets = json.loads((folder / "trust/targets.json").read_bytes())
        data = (folder / "trust/trust.json").read_bytes()
        targets["signed"]["targets"]["trust.json"] = {"hashes": {"sha256": sha256(data).hexdigest()}, "length": len(data)}
        signature = TARGETS_KEY.sign(Metadata.from_dict(json.loads(json.dumps(targets))).signed_bytes)
        targets["signatures"][0]["sig"] = signature.hex()
        (folder / "trust/targets.json").write_bytes(canonical_json.dumps(targets))
        report = checked(signed_again(folder, known.settings), known.pinned)
        assert [step.number for step in report.steps.values() if step.failed] == [1]
        assert "trust.json" in report.steps[1].detail
