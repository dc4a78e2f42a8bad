import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from nuclei import tissue
from nuclei.folders import patches
from nuclei.outlines import geojson
from nuclei.outlines.checks import to_labels
from nuclei.outlines.polygons import fill_holes, renumber
from tests.programs import ROOT

pytestmark = pytest.mark.browser

SIDE = 128
EVIL = "<img src=x onerror=alert(1)>"


class Editor:
    """The script as a program, and its page in a browser."""

    def __init__(self, folder, browser):
        self.folder, self.browser, self.process = folder, browser, None

    def start(self):
        command = [sys.executable, ROOT / "annotations.py", "edit", "--start", "baseline", "--no-browser"]
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True)
        self.url = re.search(r"http://\S+", self.process.stdout.readline()).group()
        self.open()

    def open(self):
        self.browser.get(self.url)
        self.wait(lambda: "outlines," in self.text("#count"))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def wait(self, condition):
        WebDriverWait(self.browser, 30, 0.05).until(lambda _: condition())

    def find(self, css):
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def text(self, css):
        return self.find(css).text

    @property
    def count(self):
        return len(self.browser.find_elements(By.CSS_SELECTOR, "#nuclei g"))

    def rings(self):
        """The outlines as the page draws them."""
        script = (
            "return [...document.querySelectorAll('#nuclei .line')].map((path) => path.getAttribute('d'))"
        )
        return sorted(self.browser.execute_script(script))

    def place(self, x, y):
        """A point of the patch, px, on the screen, from the middle of the view."""
        script = (
            "const v = document.getElementById('view'), b = v.getBoundingClientRect();"
            "const p = new DOMPoint(arguments[0], arguments[1]).matrixTransform(v.getScreenCTM());"
            "return [p.x - b.x - b.width / 2, p.y - b.y - b.height / 2]"
        )
        return [round(each) for each in self.browser.execute_script(script, float(x), float(y))]

    def click(self, x, y):
        ActionChains(self.browser).move_to_element_with_offset(
            self.find("#view"), *self.place(x, y)
        ).click().perform()

    def point_at(self, x, y):
        ActionChains(self.browser).move_to_element_with_offset(
            self.find("#view"), *self.place(x, y)
        ).perform()

    def drag(self, points):
        view, chain = self.find("#view"), ActionChains(self.browser, duration=20)
        first, *others = [self.place(*point) for point in points]
        chain.move_to_element_with_offset(view, *first).click_and_hold()
        for point in others:
            chain.move_to_element_with_offset(view, *point)
        chain.release().perform()

    def key(self, key):
        ActionChains(self.browser).send_keys(key).perform()

    def labels(self, name):
        """What an import makes of the file of a patch."""
        annotation = geojson.read(self.folder / "annotations" / f"{name}.geojson")
        return fill_holes(to_labels(annotation, name, (SIDE, SIDE))[0])[0]


@pytest.fixture
def editor(tmp_path, browser):
    for seed, name in enumerate(("a", EVIL)):
        patches.write_patch(tmp_path / "data", name, tissue.generate("glandular", SIDE, seed)[0])
    (tmp_path / "data" / "selected.csv").write_text(f"patch\na\n{EVIL}\n")
    editor = Editor(tmp_path, browser)
    editor.start()
    yield editor
    browser.get("about:blank")  # so that no answer is under way when the server ends
    editor.kill()


def free_place(labels, side):
    """The upper left corner of a square without a nucleus."""
    for row in range(4, SIDE - side, 4):
        for column in range(4, SIDE - side, 4):
            if not labels[row : row + side, column : column + side].any():
                return column, row
    raise AssertionError("no free place")


def costs(editor):
    """The first row of the table of time and clicks."""
    head, first = (editor.folder / "runs" / "annotation.csv").read_text().splitlines()[:2]
    return dict(zip(head.split(","), first.split(","), strict=True))


def test_a_patch_is_corrected_saved_and_imported(editor):
    before = editor.count
    labels = editor.labels("a")
    rows, columns = np.nonzero(labels == np.bincount(labels.ravel())[1:].argmax() + 1)
    middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    x, y = columns[middle] + 0.5, rows[middle] + 0.5

    editor.click(x, y)
    editor.wait(lambda: editor.count == before - 1)
    assert editor.labels("a").max() == before - 1  # on disk before the page shows it
    editor.click(x, y)  # the nucleus is not outlined now: a click proposes
    editor.wait(lambda: editor.count == before)

    column, row = free_place(labels, 14)
    corners = np.array([(1, 1), (7, 0.5), (13, 1), (13, 13), (7, 13.5), (1, 13), (1, 2)]) + (column, row)
    editor.drag(corners)
    editor.wait(lambda: editor.count == before + 1)
    assert editor.labels("a")[row + 7, column + 7]

    drawn = editor.rings()
    editor.key("2")
    editor.click(column + 7, row + 7)
    editor.wait(lambda: editor.browser.find_elements(By.CSS_SELECTOR, "#corners circle"))
    handle = editor.browser.find_elements(By.CSS_SELECTOR, "#corners circle")[0]
    at = float(handle.get_attribute("cx")), float(handle.get_attribute("cy"))
    editor.drag([at, (at[0] + 1, at[1] + 2), (column + 6, row + 6)])
    editor.wait(lambda: editor.rings() != drawn)
    moved = editor.rings()
    editor.key("z")
    editor.wait(lambda: editor.rings() == drawn)
    editor.key("y")
    editor.wait(lambda: editor.rings() == moved)
    editor.key("1")

    editor.point_at(column + 10, row + 10)
    editor.key("s")
    editor.wait(lambda: editor.rings() != moved)
    editor.key("g")
    editor.wait(lambda: costs(editor)["grow"] == "2")
    moved = editor.rings()

    labels = editor.labels("a")
    editor.kill()  # at once, as by a power cut
    editor.key("z")
    editor.wait(lambda: "has stopped" in editor.text("#message"))
    editor.browser.get_log("browser")  # the browser notes that nobody answers
    editor.start()
    assert sorted(editor.rings()) == moved
    np.testing.assert_array_equal(editor.labels("a"), labels)

    editor.key("\ue007")  # Enter
    editor.wait(lambda: "1 of 2 done" in editor.text("#progress"))
    masks = patches.read_masks(editor.folder / "data" / "a")
    np.testing.assert_array_equal(renumber(masks), renumber(labels))
    row = costs(editor)
    assert row["state"] == "done" and int(row["clicks"]) >= 5 and float(row["seconds"]) > 0
    assert (row["drop"], row["propose"], row["add"], row["move"]) == ("1", "1", "1", "1")


def test_split_and_merge(editor):
    labels = editor.labels("a")
    column, row = free_place(labels, 14)
    before = editor.count
    editor.drag(np.array([(1, 1), (13, 1), (13, 13), (1, 13), (1, 2)]) + (column, row))
    editor.wait(lambda: editor.count == before + 1)
    editor.key("3")
    editor.drag([(column + 7, row - 1), (column + 7, row + 7), (column + 7, row + 15)])
    editor.wait(lambda: editor.count == before + 2)
    editor.key("4")
    editor.drag([(column + 4, row + 7), (column + 7, row + 7), (column + 10, row + 7)])
    editor.wait(lambda: editor.count == before + 1)
    for count in (2, 1, 0):
        editor.key("z")
        editor.wait(lambda count=count: editor.count == before + count)


def test_keys_hide_outlines_and_zoom(editor):
    view = editor.find("#view")
    whole = view.get_dom_attribute("viewBox")
    editor.key("o")
    assert not editor.find("#nuclei").is_displayed()
    before = editor.count
    editor.click(SIDE / 2, SIDE / 2)
    editor.wait(lambda: "outlines are off" in editor.text("#message"))
    assert editor.count == before
    editor.key("o")
    editor.key("+")
    assert view.get_dom_attribute("viewBox") != whole
    editor.key("0")
    assert view.get_dom_attribute("viewBox") == whole


def test_a_second_window_loses_nothing(editor):
    browser = editor.browser
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    editor.open()
    before = editor.count
    labels = editor.labels("a")
    column, row = free_place(labels, 14)
    editor.drag(np.array([(1, 1), (13, 1), (13, 13), (1, 13), (1, 2)]) + (column, row))
    editor.wait(lambda: editor.count == before + 1)
    rings = editor.rings()
    browser.close()
    browser.switch_to.window(first)
    browser.execute_script("dispatchEvent(new Event('focus'))")  # as when a person comes back to it
    editor.wait(lambda: editor.rings() == rings)
    assert editor.labels("a").max() == before + 1


def test_names_are_text(editor):
    editor.key("n")
    editor.wait(lambda: editor.text("#name") == EVIL)
    assert editor.browser.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    editor.wait(lambda: editor.count > 0)
    editor.key("p")
    editor.wait(lambda: editor.text("#name") == "a")


@pytest.mark.parametrize("size", [(1440, 900), (900, 1000), (500, 860)])
def test_nothing_sticks_out(editor, size):
    editor.browser.set_window_size(*size)
    try:
        page = "document.documentElement"
        script = f"return [{page}.scrollWidth - innerWidth, {page}.scrollHeight - innerHeight]"
        assert max(editor.browser.execute_script(script)) <= 0
        view = editor.find("#view")
        assert min(view.size.values()) > 250
    finally:
        editor.browser.set_window_size(1440, 900)


def test_ctrl_c_ends_it_and_says_what_is_done(editor):
    editor.process.send_signal(signal.SIGINT)
    out, _ = editor.process.communicate(timeout=30)
    assert editor.process.returncode == 0
    assert "0 of 2 patches are done" in out and "next: python annotations.py edit" in out
