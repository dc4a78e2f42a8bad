import json

from nuclei import patches
from tests.programs import call

SHORT = ("--size", "256", "--images", "1", "--k1", "2", "--samples", "2", "--steps", "4", "--effort", "0.03")


def test_the_scripts_run_as_programs_from_images_to_scores(tmp_path):
    finished = call(tmp_path, "demo.py", "--out", "demo", *SHORT)
    assert finished.returncode == 0, finished.stderr
    figures = json.loads(finished.stdout.strip().splitlines()[-1])
    assert set(figures) == {"aji", "aji_label_free", "aji_annotated_only", "pq", "seconds"}
    assert 0 <= figures["aji"] <= 1
    assert figures["aji_label_free"] > 0.2

    out = tmp_path / "demo"
    selected = patches.read_selection(out / "data")
    names = patches.list_patches(out / "data")
    # Only what was selected is annotated; the rest is labelled by the network.
    assert sorted(name for name in names if patches.is_annotated(out / "data" / name)) == sorted(selected)
    pairs = sorted(f"{name}_{number}" for name in selected for number in range(2))
    assert patches.list_patches(out / "data_synthetic") == pairs
    assert patches.list_patches(out / "data_pseudo") == sorted(set(names) - set(selected))
    pictures = {path.name for path in (out / "pictures").iterdir()}
    assert {"1_contact_sheet.png", "3_losses.png", "3_pseudo_labels.png"} <= pictures

    # Everything is finished: a second run repeats nothing and ends with the same scores.
    again = call(tmp_path, "demo.py", "--out", "demo", *SHORT)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.strip().splitlines()[-1]) | {"seconds": 0} == figures | {"seconds": 0}
    assert again.stdout.count("is finished already") == 4
