import http.client
import json
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import shapely

from nuclei.editor.candidates import Candidate
from nuclei.editor.desk import Desk
from nuclei.editor.drawing import Drawing
from nuclei.editor.server import PAGE, Server
from nuclei.editor.session import edit
from nuclei.errors import InputError
from nuclei.folders import patches
from nuclei.io.locks import alone
from nuclei.outlines import geojson
from tests.programs import assert_refused, call

EVIL = "<img src=x onerror=alert(1)>"
JSON = {"Content-Type": "application/json"}


def grid(count, side=256):
    """Candidates on a grid, `count` of them."""
    columns = int(np.ceil(np.sqrt(count)))
    step = side / columns
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) * step * 0.4
    corners = [(step * (n % columns + 0.5), step * (n // columns + 0.5)) for n in range(count)]
    return [Candidate(shapely.Polygon(circle + corner), 0.5 + n / 1000) for n, corner in enumerate(corners)]


@pytest.fixture
def desk(tmp_path):
    image = np.full((256, 256, 3), (220, 180, 210), np.uint8)
    names = ["a", EVIL]
    for name in names:
        patches.write_patch(tmp_path / "data", name, image)
    return Desk(tmp_path / "data", names, tmp_path / "annotations", "start", tmp_path / "costs.csv")


@pytest.fixture
def server(desk):
    with Server(desk, Drawing(desk, lambda image: grid(9))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server, path, content=None, token=None, method=None, **headers):
    """Status and body of the answer."""
    host, port = server.server_address
    connection = http.client.HTTPConnection(host, port, timeout=30)
    path = f"/{server.token if token is None else token}/{path}"
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    body = None if content is None else json.dumps(content)
    given = given if content is None else {**JSON, **given}
    connection.request(method or ("GET" if content is None else "POST"), path, body, given)
    response = connection.getresponse()
    return response.status, response.read(), dict(response.getheaders())


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1" and server.is_local
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", server.url)


def test_without_the_token_there_is_nothing(server):
    for token in (
        "",
        "x",
        server.token[:-1],
        server.token + "x",
        server.token.upper(),
        "..",
        "%00",
        "é".encode().hex(),
    ):
        for path in ("", "main.js", "api/patches", "api/patch/0", "api/patch/0/image"):
            status, body, _ = ask(server, path, token=token)
            assert (status, body) == (404, b""), (token, path)
        assert ask(server, "api/patch/0", {"do": "undo"}, token=token)[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},  # a name that was made to lead here: DNS rebinding
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_another_origin_gets_nothing_even_with_the_token(server, headers):
    for content in (None, {"do": "undo"}):
        status, body, answered = ask(server, "api/patch/0", content, **headers)
        assert (status, body) == (404, b"")
        assert "Access-Control-Allow-Origin" not in answered


def test_a_form_of_another_page_changes_nothing(server):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert ask(server, "api/patch/0", {"do": "undo"}, Content_Type=kind)[0] == 415


def test_nothing_is_served_but_what_the_page_needs(server):
    numbers = ["2", "-1", "a", "", "99999999999999999999", "%C2%B2", "0/masks", "0/handles/x", "0/image/1"]
    paths = ["../server.py", "%2e%2e/server.py", "server.py", "page/main.js", "api", "a.geojson"]
    for path in [*paths, *(f"api/patch/{number}" for number in numbers)]:
        assert ask(server, path)[0] == 404, path
    assert ask(server, "", method="DELETE")[0] == 501
    for path in PAGE.iterdir():
        assert ask(server, path.name)[1] == path.read_bytes()


def test_the_page_may_load_nothing_from_elsewhere(server):
    _, _, headers = ask(server, "")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    text = "".join(path.read_text(encoding="utf-8") for path in PAGE.iterdir())
    assert set(re.findall(r"https?://[^\s\"']*", text)) == {"http://www.w3.org/2000/svg"}
    assert "innerHTML" not in text and "insertAdjacentHTML" not in text  # names are text


def test_bad_requests_are_refused_and_the_server_lives(server):
    server.desk.offer(0, grid(4))
    host, port = server.server_address
    for body, headers in ((b"{", JSON), (b"[]", JSON), (b"\xff", JSON)):
        connection = http.client.HTTPConnection(host, port)
        connection.request("POST", f"/{server.token}/api/patch/0", body, headers)
        assert connection.getresponse().status == 400
    connection = http.client.HTTPConnection(host, port)
    connection.request("POST", f"/{server.token}/api/patch/0", headers={**JSON, "Content-Length": "99999999"})
    assert connection.getresponse().status == 413
    status, body, _ = ask(server, "api/patch/0", {"do": "drop", "key": 77})
    assert status == 400 and json.loads(body) == {"error": "this outline is not there any more"}
    assert ask(server, "api/patches")[0] == 200


def test_first_outlines_come_while_a_person_waits(server):
    status, body, _ = ask(server, "api/patch/1")
    assert status == 202 and json.loads(body)["size"] == [256, 256]
    server.drawing.start()
    server.drawing.join()
    status, body, _ = ask(server, "api/patch/1")
    view = json.loads(body)
    assert status == 200 and view["count"] == 9 and view["name"] == EVIL
    key = view["added"][0]["key"]
    status, body, _ = ask(server, f"api/patch/1/handles/{key}")
    assert len(json.loads(body)["handles"]) >= 8
    status, body, headers = ask(server, "api/patch/1/image")
    assert headers["Content-Type"] == "image/png" and body[:4] == b"\x89PNG"


def test_the_answer_to_one_edit_holds_only_what_changed(server):
    """However many nuclei a patch has; how long answers take is in docs/measurements.md."""
    server.desk.offer(0, grid(220))
    view = json.loads(ask(server, "api/patch/0")[1])
    assert view["count"] == len(view["added"]) == 220
    keys = [each["key"] for each in view["added"]]
    square = [[4, 4], [12, 4], [12, 12]]
    x, y = json.loads(ask(server, f"api/patch/0/handles/{keys[150]}")[1])["handles"][0]
    actions = [({"do": "drop", "key": keys[0]}, 0, 1), ({"do": "undo"}, 1, 0),
               ({"do": "add", "points": square}, 1, 0),
               ({"do": "move", "key": keys[150], "corner": 0, "x": x + 1, "y": y}, 1, 0)]  # fmt: skip
    version = view["version"]
    for action, added, removed in actions:
        answer = json.loads(ask(server, "api/patch/0", {**action, "version": version})[1])
        assert (len(answer["added"]), len(answer["removed"])) == (added, removed), action
        version = answer["version"]


def test_a_list_of_500_patches_reads_each_file_once(tmp_path, monkeypatch):
    names = [f"p{number}" for number in range(500)]
    for name in names:  # what the list needs of a patch, without 500 images
        (tmp_path / "data" / name / "images").mkdir(parents=True)
    (tmp_path / "annotations").mkdir()
    desk = Desk(tmp_path / "data", names, tmp_path / "annotations", "start", tmp_path / "costs.csv")
    outlines = [each.outline for each in grid(60)]
    geojson.write(tmp_path / "annotations" / "p0.geojson", outlines, "p0.png")
    for name in names[1:]:
        shutil.copy(tmp_path / "annotations" / "p0.geojson", tmp_path / "annotations" / f"{name}.geojson")
    reads, read_bytes = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path.name) or read_bytes(path))
    for _ in range(2):
        assert {each["nuclei"] for each in desk.patches()} == {60}
    assert sorted(name for name in reads if name.endswith(".geojson")) == sorted(
        f"{name}.geojson" for name in names
    )


def test_two_editors_of_one_folder_are_refused(desk):
    with alone(desk.store.folder), pytest.raises(InputError, match="another run writes into"):
        edit(desk, lambda image: [], browser=False)


def test_a_session_ends_with_ctrl_c(desk, monkeypatch):
    said = []

    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupt)
    desk.offer(0, grid(4))
    desk.done(0, {})
    assert edit(desk, lambda image: [], browser=False, say=said.append) == 1
    assert len(said) == 1 and "http://127.0.0.1:" in said[0] and "\n" not in said[0]


def test_a_port_in_use_is_one_line(server):
    with pytest.raises(InputError, match="pass another --port"):
        Server(server.desk, server.drawing, port=server.server_address[1])


def test_bad_input_is_one_line(tmp_path):
    assert_refused(call(tmp_path, "annotations.py", "edit"), "data/selected.csv does not exist")
    assert list(tmp_path.iterdir()) == []
