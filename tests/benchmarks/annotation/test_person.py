import threading

import numpy as np
import shapely

from benchmarks.annotation.person import Person
from nuclei.editor.candidates import Candidate
from nuclei.editor.desk import Desk
from nuclei.editor.drawing import Drawing
from nuclei.editor.server import Server
from nuclei.folders import patches


def test_a_person_keeps_grows_draws_over_draws_and_drops(tmp_path):
    truth = np.zeros((64, 64), np.int32)
    truth[0:10, 0:10], truth[20:30, 0:10], truth[40:50, 0:10], truth[0:10, 40:50] = 1, 2, 3, 4
    patches.write_patch(tmp_path / "data", "a", np.full((64, 64, 3), (220, 180, 210), np.uint8))
    found = [
        Candidate(shapely.box(0, 0, 10, 9), 0.9),  # fits
        Candidate(shapely.box(0, 20, 10, 26), 0.8),  # does not, and growing makes it worse: drawn over
        Candidate(shapely.box(41, 1, 49, 9), 0.6),  # a pixel too small all around: grown
        Candidate(shapely.box(40, 40, 50, 50), 0.7),  # no nucleus: dropped
    ]
    desk = Desk(tmp_path / "data", ["a"], tmp_path / "annotations", "model", tmp_path / "costs.csv")
    desk.offer(0, found)
    with Server(desk, Drawing(desk, lambda image: found)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        work = Person(server, 0, truth).correct()
        server.shutdown()
    assert (work.nuclei, work.fine, work.drawn) == (4, 1, 2)
    assert work.actions == 2 + 1 + 2 + 1  # a key and a stroke; a key; a click in vain and a stroke; the drop
    assert work.clicks == (1 + 4) + 1 + (1 + 4) + 1
    assert (work.by_hand_actions, work.by_hand_clicks) == (4, 16)
