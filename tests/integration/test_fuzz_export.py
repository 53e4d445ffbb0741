"""An export in which any file was changed anyhow never verifies, and no file of it crashes a step."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiinfra_core.evidence import bundle
from aiinfra_core.evidence.bundle import Bundle
from aiinfra_core.evidence.verification.verify import Question, Report, verify
from tests.simulators import exports
from tests.simulators.exports import Known
from tests.simulators.mutations import changes

AMOUNTS = [150, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(7200)])]
NOT_JUDGED_BUT_LISTED = {bundle.README, bundle.SCRIPT, bundle.BOM}
known = exports.known
Check = Callable[[Mapping[str, bytes]], Report]


@pytest.fixture
def check(known: Known) -> Check:
    """Verify the known export with other files in it."""
    read, root = bundle.read(known.export), known.pinned.read_bytes()

    def checked(files: Mapping[str, bytes]) -> Report:
        return verify(
            replace(read, files=files), Question(pinned=root, now=datetime.now(UTC), last_checkpoint=read.files[bundle.CHECKPOINT])
        )

    return checked


def judged(report: Report) -> list[int]:
    """Return the steps that failed beside the list of files."""
    return [number for number, step in report.steps.items() if step.failed and number != 13]


@pytest.mark.parametrize("examples", AMOUNTS)
def test_no_changed_file_passes_and_none_crashes_a_step(examples: int, known: Known, check: Check) -> None:
    files: Bundle = bundle.read(known.export)
    assert check(files.files).passed

    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
    @given(st.data())
    def refused(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(files.files)))
        other = data.draw(changes(files.files[name]))
        if other != files.files[name]:
            assert not check({**files.files, name: other}).passed

    refused()


def test_no_file_can_be_left_out_or_stand_in_for_another_of_its_kind(known: Known, check: Check) -> None:
    files = bundle.read(known.export).files
    for name in files:
        assert not check({it: data for it, data in files.items() if it != name}).passed, name
    for first, second in zip(sorted(files), sorted(files)[1:], strict=False):
        if first.partition("/")[0] == second.partition("/")[0] and files[first] != files[second]:
            assert not check({**files, first: files[second], second: files[first]}).passed, first


def test_every_file_is_judged_by_another_step_than_the_list_of_files_but_for_what_nobody_leans_on(known: Known, check: Check) -> None:
    files = bundle.read(known.export).files
    unjudged = {name for name in files if not judged(check({**files, name: b"x" + files[name]}))}
    assert unjudged - {bundle.STATEMENT, bundle.FILES} == NOT_JUDGED_BUT_LISTED | {it for it in files if it.startswith("bundles/")}
