"""`hoist report` as a user runs it, and the page at the end of the demo."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_making import experiment, herds, write

from hoist.cli import main
from hoist.cli.measure import DEMO_REPORT, _report


def test_a_page_and_a_line_about_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", [*experiment(1, 1, ("nas",)), *herds()])
    assert main(["report", "a.jsonl"]) == 0
    assert capsys.readouterr().out.startswith("report.html: 16 records, ")
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    import os

    found = os.umask(0o022)
    os.umask(found)
    return found


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newer = write(tmp_path / "newer.jsonl", [experiment(1, 1)[0] | {"schema": "hoist.bench/9"}])
    assert main(["report", str(newer), "-o", str(tmp_path / "x.html")]) == 8
    assert "its schema is 'hoist.bench/9'" in capsys.readouterr().err
    good = write(tmp_path / "good.jsonl", experiment(1, 1))
    assert main(["report", str(good), "-o", str(tmp_path / "none/x.html")]) == 9
    scenario = tmp_path / "case.toml"
    scenario.write_text("size = 4\n")
    assert main(["report", str(good), "--scenario", str(scenario), "-o", str(tmp_path / "x.html")]) == 2
    assert not (tmp_path / "x.html").exists()


def test_the_demo_ends_with_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    records = experiment(1, 1, ("nas",))
    assert _report(None, records, wanted=False) == "" and list(tmp_path.iterdir()) == []
    assert _report(None, records, wanted=True).startswith(f"{DEMO_REPORT}: 4 records")
    assert "hoist-demo.jsonl" in (tmp_path / DEMO_REPORT).read_text()


@pytest.mark.filterwarnings("ignore")
def test_a_page_that_nobody_named_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / DEMO_REPORT).mkdir()
    monkeypatch.chdir(tmp_path)
    assert _report(None, experiment(1, 1, ("nas",)), wanted=True) == ""
    assert "no page of it" in capsys.readouterr().err
