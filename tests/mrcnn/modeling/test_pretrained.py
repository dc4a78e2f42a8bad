"""Published files come complete, are checked, and are not fetched twice; over a server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from mrcnn.modeling import pretrained
from nuclei.errors import InputError

CONTENT = bytes(range(256)) * 9000  # more than one chunk


@pytest.fixture
def server():
    """(address, paths asked for); /file gives CONTENT, /short a part of it, /second fails once."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            whole = self.path == "/file" or asked.count("/second") == 2
            self.send_response(200 if whole or self.path == "/short" else 404)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT if whole else CONTENT[:1000])

        def log_message(self, *args):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", asked
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def tried_once(monkeypatch):
    """What fails, fails at once."""
    monkeypatch.setattr(pretrained, "_RETRIES", 0)


def source(url: str, content: bytes = CONTENT) -> pretrained.Source:
    return pretrained.Source(url, "sha256", hashlib.sha256(content).hexdigest())


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_fetched_once(server, tmp_path):
    address, asked = server
    path = tmp_path / "new" / "weights.h5"
    for _ in range(2):
        pretrained.fetch(source(f"{address}/file"), path, progress=False)
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["weights.h5"]
    assert asked == ["/file"]


def test_a_bar_shows_how_much_has_come(server, tmp_path, capsys):
    pretrained.fetch(source(f"{server[0]}/file"), tmp_path / "weights.h5")
    assert "weights.h5: 100%" in capsys.readouterr().err
    pretrained.fetch(source(f"{server[0]}/file"), tmp_path / "other.h5", progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "problem"),
    [("file", "not the published file"), ("short", r"cannot be downloaded \(ChunkedEncodingError\)")],
)
def test_other_content_leaves_nothing(server, tmp_path, name, problem):
    path = tmp_path / "weights.h5"
    with pytest.raises(InputError, match=problem) as caught:
        pretrained.fetch(source(f"{server[0]}/{name}", b"other"), path, progress=False)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_no_network_says_where_to_put_the_file(server, tmp_path, monkeypatch):
    path = tmp_path / "weights.h5"
    for url in (f"{server[0]}/missing", "http://127.0.0.1:1/file", (tmp_path / "none").as_uri()):
        with pytest.raises(InputError, match="cannot be downloaded") as caught:
            pretrained.fetch(source(url), path, progress=False)
        message = str(caught.value)
        assert url in message and f"put it at {path}" in message and "\n" not in message
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"put it at {path}"):
        pretrained.fetch(source("http://127.0.0.1:1/file"), Path("weights.h5"), progress=False)
    assert names(tmp_path) == []


def test_another_file_in_its_place_stays(server, tmp_path):
    path = tmp_path / "weights.h5"
    path.write_bytes(b"mine")
    for place in (path, tmp_path):
        with pytest.raises(InputError, match="move it away"):
            pretrained.fetch(source(f"{server[0]}/file"), place, progress=False)
    assert path.read_bytes() == b"mine"
    assert server[1] == []


def test_a_place_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "weights.h5"
    with pytest.raises(InputError, match="cannot write"):
        pretrained.fetch(source(f"{server[0]}/file"), path, progress=False)


def test_a_server_that_fails_once_is_asked_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "_RETRIES", 1)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    path = tmp_path / "weights.h5"
    pretrained.fetch(source(f"{server[0]}/second"), path, progress=False)
    assert path.read_bytes() == CONTENT
    assert server[1] == ["/second", "/second"]


def test_coco_weights_go_where_they_are_wanted(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "COCO", source(f"{server[0]}/file"))
    path = tmp_path / "mask_rcnn_coco.h5"
    pretrained.download_trained_weights(str(path), verbose=0)
    assert path.read_bytes() == CONTENT
    assert capsys.readouterr().err == ""


def test_imagenet_weights_lie_in_keras_own_cache(server, tmp_path, monkeypatch):
    wanted = source(f"{server[0]}/file")
    monkeypatch.setattr(pretrained, "IMAGENET_RESNET50", wanted)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = pretrained.imagenet_resnet50()
    assert path == tmp_path / "models" / "file"
    assert path.read_bytes() == CONTENT


def test_the_published_files_are_those_of_matterports_code():
    assert pretrained.COCO.url.endswith("matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5")
    assert len(pretrained.COCO.digest) == 64
    assert pretrained.IMAGENET_RESNET50.url.endswith("resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5")
    assert len(pretrained.IMAGENET_RESNET50.digest) == 32
