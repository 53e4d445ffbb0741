"""`aiinfra bom`: a real training's bill of materials names its packages and evidence, and is valid by the official schema."""

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from aiinfra_core.settings import Settings
from aiinfra_core.training import environment
from tests.simulators import command_line
from tests.simulators.command_line import Run

installation, registered, repository, run = command_line.installation, command_line.registered, command_line.repository, command_line.run


def properties(component: dict[str, Any]) -> dict[str, str]:
    return {one["name"].removeprefix("aiinfra:"): one["value"] for one in component["properties"]}


def test_the_bill_of_a_promoted_model_is_valid_and_names_its_evidence(registered: dict[str, Any], run: Run, tmp_path: Path) -> None:
    evaluation, promotion = run("evaluate rain --json").json, run("promote rain --to prod --json").json
    printed = run("bom rain@prod")
    assert printed.code == 0
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(printed.out) is None
    bill = json.loads(printed.out)
    model = bill["metadata"]["component"]
    told = properties(model)
    assert told["statement:registration"] == registered["attestation"]
    assert told["statement:evaluation"] == evaluation["attestation"]
    assert told["statement:promotion"] == promotion["manifest"]
    assert told["statement:training"] == run(f"jobs show {registered['trainingJobId']} --json").json["attestation"]
    assert {"type": "quality", "value": "0.9"} in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    packages = [f"{part['name']}=={part['version']}" for part in bill["components"] if part["type"] == "library"]
    assert packages == environment.capture()["packages"]
    assert (run("bom rain:1 --json").out, run("bom rain").out) == (printed.out, printed.out)

    written = run(f"bom rain --out {tmp_path}/rain.cdx.json")
    assert (written.code, written.out) == (0, "")
    assert (tmp_path / "rain.cdx.json").read_text() == printed.out
    assert "exists already" in run(f"bom rain --out {tmp_path}/rain.cdx.json").error
    assert "cannot be written" in run(f"bom rain --out {tmp_path}/nowhere/rain.cdx.json").error


def test_a_claim_that_was_refused_changes_nothing_and_one_that_was_believed_is_told_apart(registered: dict[str, Any], run: Run) -> None:
    before = run("bom rain").out
    assert run("promote rain --to prod --metric quality=0.1").code == 3
    assert run("bom rain").out == before
    assert run("promote rain --to prod --metric quality=0.95").code == 0
    card = json.loads(run("bom rain").out)["metadata"]["component"]["modelCard"]
    assert card == {"properties": [{"name": "aiinfra:claimed:quality", "value": "0.95"}]}


def test_a_model_trained_elsewhere_has_a_bill(installation: Settings, run: Run, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("1")
    artifact = run(f"register --model rain {tmp_path}/model --json").json
    model = json.loads(run("bom rain").out)["metadata"]["component"]
    assert properties(model)["provenance"] == "no provenance"
    assert properties(model)["artifact:dirHash"] == artifact["checksum"]


@pytest.mark.parametrize("changed", [b"{}", None], ids=["changed", "gone"])
def test_no_bill_is_made_from_a_training_record_that_was_changed(
    registered: dict[str, Any], installation: Settings, run: Run, changed: bytes | None, tmp_path: Path
) -> None:
    record = Path(run(f"jobs show {registered['trainingJobId']} --json").json["trainingRecordUri"].removeprefix("file://"))
    record.chmod(0o600)
    record.unlink() if changed is None else record.write_bytes(changed)
    tried = run(f"bom rain --out {tmp_path}/bill")
    assert tried.code == 2
    assert not (tmp_path / "bill").exists()
    assert "training" in tried.error


def test_what_is_not_registered_has_no_bill(installation: Settings, run: Run) -> None:
    assert "Nothing is registered as 'rain'" in run("bom rain").error
