import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from nuclei.report.places import REPORT, remember
from nuclei.report.write import write_report
from tests.nuclei.report.test_write import EVIL, run  # noqa: F401  (a fixture)

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser, run):  # noqa: F811
    path = run / "runs" / REPORT
    write_report(path, remember(path))
    browser.get(path.as_uri())
    return browser


def find(page, css):
    return page.find_element(By.CSS_SELECTOR, css)


def test_pointing_at_a_patch_shows_it(page):
    hover = find(page, "#hover")
    assert not hover.is_displayed()
    point = find(page, ".point.chosen")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(page).move_to_element(point).perform()
    assert hover.is_displayed() and EVIL in hover.text
    assert page.execute_script("return document.querySelector('#hover img').naturalWidth") > 0
    ActionChains(page).move_to_element(find(page, "h1")).perform()
    assert not hover.is_displayed()
    assert page.find_elements(By.CSS_SELECTOR, "img[src=x]") == []  # a name is no markup


def test_pictures_zoom_and_move(page):
    svg = find(page, "#annotated svg.zoom")
    whole = svg.get_dom_attribute("viewBox")
    find(page, "#annotated [data-zoom=in]").click()
    assert svg.get_dom_attribute("viewBox") == "16 16 64 64"
    svg.send_keys(Keys.ARROW_LEFT)
    assert svg.get_dom_attribute("viewBox") == "8 16 64 64"
    ActionChains(page).drag_and_drop_by_offset(svg, -30, 0).perform()
    assert float(svg.get_dom_attribute("viewBox").split()[0]) > 8
    ActionChains(page).double_click(svg).perform()
    assert svg.get_dom_attribute("viewBox") == whole
    find(page, "#annotated [data-zoom=large]").click()
    assert svg.size["height"] > 500
    svg.send_keys(Keys.ESCAPE)
    assert svg.size["height"] < 500


def test_outlines_switch_off_and_on(page):
    kept, ignored = page.find_elements(By.CSS_SELECTOR, "#pseudo .layer")
    switches = page.find_elements(By.CSS_SELECTOR, "#pseudo input")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", switches[1])
    switches[1].click()
    assert kept.is_displayed() and not ignored.is_displayed()
    switches[1].click()
    assert ignored.is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 900, 400])
def test_nothing_sticks_out(page, width, scheme):
    scheme = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    page.set_window_size(width, 900)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        colours = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        ink, paper = page.execute_script(colours)
        assert abs(_grey(ink) - _grey(paper)) > 180
    finally:
        page.set_window_size(1440, 900)


def _grey(colour):
    return sum(float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 3


def test_it_prints(page):
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(printed["data"]) > 10_000
