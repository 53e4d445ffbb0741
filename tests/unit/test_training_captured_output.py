"""What a training prints is kept up to a limit and handed on line by line."""

from pathlib import Path

import pytest

from aiinfra_core.training import captured_output
from aiinfra_core.training.captured_output import CapturedOutput


def test_lines_are_handed_on_whole_however_the_bytes_arrive(tmp_path: Path) -> None:
    lines: list[str] = []
    with CapturedOutput(tmp_path / "log", lines.append) as output:
        for piece in (b"one\ntw", b"o\r\n", b"\xc3", b"\xa4\nlast"):
            output.take(piece)
        output.finish()
    assert lines == ["one", "two", "ä", "last"]
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\r\n\xc3\xa4\nlast"


def test_a_flood_is_cut_and_its_last_words_are_still_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured_output, "MAX_LOG_BYTES", 1000)
    lines: list[str] = []
    with CapturedOutput(tmp_path / "log", lines.append) as output:
        for number in range(10_000):
            output.take(f"line {number}\n".encode())
        output.take(b"the reason\n\n")
    assert (tmp_path / "log").stat().st_size < 1100
    assert "cut here" in (tmp_path / "log").read_text()
    assert len(lines) < 200
    assert output.last_line == "the reason"


def test_a_line_without_end_is_handed_on_in_pieces(tmp_path: Path) -> None:
    lines: list[str] = []
    with CapturedOutput(tmp_path / "log", lines.append) as output:
        output.take(b"x" * 3 * captured_output.MAX_LINE_BYTES)
        output.finish()
    assert len(lines) == 3
    assert (tmp_path / "log").stat().st_size == 3 * captured_output.MAX_LINE_BYTES


def test_last_words_hold_no_control_characters(tmp_path: Path) -> None:
    with CapturedOutput(tmp_path / "log", lambda _: None) as output:
        output.take(b"\x1b[31mred\x07\xff\n")
    assert output.last_line.isprintable()
    assert "red" in output.last_line
