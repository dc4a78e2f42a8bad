"""Which tools one image is segmented beside."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.slides import measured, peers
from nuclei.errors import InputError


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_has_its_program_and_its_environment(name: str) -> None:
    assert importlib.import_module(f"benchmarks.peers.{name}_peer").PEER.name == name
    assert (measured.ROOT / "benchmarks" / "peers" / f"requirements-{name}.txt").exists()
    made = next(
        line for line in (measured.ROOT / "Makefile").read_text().splitlines() if line.startswith("peers:")
    )
    assert f".venv-{name}/.stamp" in made


def test_refuses_peers_that_cannot_run(tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match="--peers has qupath; known are stardist"):
        peers.main(peers.Settings(out=tmp_path / "out", peers=("qupath",)))
    monkeypatch.setattr(measured, "ROOT", tmp_path)
    with pytest.raises(InputError, match="the environment of instanseg with make peers"):
        peers.main(peers.Settings(out=tmp_path / "out", peers=("instanseg",)))
    assert not (tmp_path / "out").exists()
