"""-o as users of mount(8) write it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.config import load_config
from hoist.errors import UsageError
from hoist.mount.daemon import mount_cache
from hoist.mount.options import MountOptions, parse_mount_options


def test_usual_options() -> None:
    found = parse_mount_options(
        ["ro,nodev,nosuid,_netdev,x-systemd.automount,nofail", "allow_other,uid=1000,gid=100,umask=027"]
    )
    assert (found.allow_other, found.uid, found.gid) == (True, 1000, 100)
    assert (found.folder_mode, found.file_mode) == (0o550, 0o440)
    assert parse_mount_options(["", ","]) == MountOptions()


def test_own_options() -> None:
    found = parse_mount_options(
        ["refresh=2.5,timeout=60s,memory=1G,cache-size=20GiB,threads=2,no_prefetch,log-file=/var/log/x"]
    )
    assert (found.refresh_seconds, found.timeout_seconds, found.threads) == (2.5, 60.0, 2)
    assert (found.memory_bytes, found.cache_bytes, found.prefetch) == (1 << 30, 20 << 30, False)
    assert found.log_file == Path("/var/log/x")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("rw", "read-only"),
        ("nonsense", "there is no such option"),
        ("uid=me", "not a number"),
        ("umask=999", "'999' is no umask: write it in octal"),
        ("refresh=soon", "'soon' is no number of seconds"),
        ("threads=0", "threads"),
        ("memory=1K", "memory"),
        ("memory=lots", "size"),
        ("refresh=-1", "refresh"),
        ("timeout=nan", "timeout"),
        ("metrics=70000", "port"),
        ("allow_other=1", "no such option"),
        ("uid", "no such option"),
        ("cache=maybe", "neither on nor off"),
    ],
)
def test_what_makes_no_sense_is_named(text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        parse_mount_options([text])


@given(st.text(max_size=60))
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        parse_mount_options([text])
    except UsageError:
        return


@pytest.mark.parametrize(
    ("table", "variable", "option", "used"),
    [
        ("", "", "", True),
        ("[cache]", "", "", True),
        ("[cache]\nenabled = false", "", "", False),
        ("[cache]\nenabled = false", "on", "", True),
        ("[cache]\nenabled = false", "/some/where", "", True),
        ("[cache]\nenabled = false", "", "cache=on", True),
        ("", "off", "", False),
        ("[cache]", "off", "", False),
        ("", "off", "cache=on", True),
        ("", "on", "cache=off", False),
        ("[cache]", "", "no_cache", False),
    ],
)
def test_the_option_wins_over_the_variable_and_that_over_the_file(
    tmp_path: Path, table: str, variable: str, option: str, used: bool
) -> None:
    (tmp_path / "hoist.toml").write_text(table)
    config = load_config({"HOME": str(tmp_path), "HOIST_CACHE": variable}, tmp_path)
    assert (mount_cache(config, parse_mount_options([option])) is not None) == used
