"""The page in a real browser, opened from disk: `make test-browser`. Leaves screenshots and a print in
build/browser/ to be looked at."""

import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from ablation.runs.measurements import Measurement, step_key, write_measurements
from ablation.show.chart import THE_PAPER
from ablation.show.results import Results
from tests.conftest import ROOT
from tests.test_page import page_of, results_of

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="needs the browser of make test-browser",
)
QUIET = ("quic", "gpu", "background-networking", "component-update", "sync")
POINTS = "#chart path[aria-roledescription=point]"
PICTURES = ROOT / "build" / "browser"
# A4 within the margins of a print.
SHEET = {"width": 718, "height": 1046, "deviceScaleFactor": 1, "mobile": False}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The quick study with measured steps, and two of its runs missing."""
    found = results_of(tmp_path_factory.mktemp("page"), "study=quick", without=2)
    known = Measurement(
        "cpu",
        0,
        32,
        1,
        32,
        "fp32",
        0.01,
        0.009,
        0.011,
        900.0,
        890.0,
        910.0,
        10**6,
        7,
        "2.13.0",
        "2026-01-02",
    )
    runs = {entry.run.id: entry.run for entry in found.wanted.planned}.values()
    write_measurements(
        found.wanted.execution.runs,
        {step_key(run): replace(known, step_seconds=1e-9 * run.network.pixels**3) for run in runs},
    )
    return found


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    for flag in ("headless", "no-sandbox", "no-first-run", *(f"disable-{name}" for name in QUIET)):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(results: Results) -> str:
    page_of(results)
    return (results.folder / "report.html").resolve().as_uri()


@pytest.fixture
def page(chrome: Chrome, address: str) -> Chrome:
    """The page, freshly opened on a desktop."""
    return opened(chrome, address)


def opened(
    chrome: Chrome, address: str, width: int = 1280, scheme: str = "light", height: int = 900
) -> Chrome:
    chrome.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    chrome.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    chrome.get(address)
    wait(chrome, lambda: points(chrome))
    return chrome


def wait(chrome: Chrome, condition: Any) -> None:
    WebDriverWait(chrome, 20).until(lambda _: condition())


def points(chrome: Chrome) -> list[WebElement]:
    return chrome.find_elements(By.CSS_SELECTOR, POINTS)


def drawn(chrome: Chrome) -> str:
    """Every word of the chart: ticks, titles, legend."""
    return chrome.execute_script("return document.querySelector('#chart svg').textContent")


def column(table: WebElement, name: str) -> list[str]:
    """The texts of one column of a table, from top to bottom."""
    script = """
      const heads = [...arguments[0].tHead.rows[0].cells].map(cell => cell.textContent.trim());
      const rows = [...arguments[0].tBodies[0].rows];
      return rows.map(row => row.cells[heads.indexOf(arguments[1])].textContent)"""
    return table.parent.execute_script(script, table, name)


def test_the_page_is_quiet_and_asks_for_nothing(chrome: Chrome, address: str) -> None:
    chrome.get_log("browser"), chrome.get_log("performance")  # of what came before
    opened(chrome, address)
    assert chrome.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert address in asked
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert [url for url in asked if url.startswith("file:")] == [address]


def test_the_chart_follows_its_controls_by_keyboard(page: Chrome) -> None:
    cost, before = page.find_element(By.CSS_SELECTOR, "#axes select"), len(points(page))
    assert [option.text for option in Select(cost).options][-1] == "time of a step (s)"
    assert "219k" in drawn(page) and "FLOPs (multiply-adds)" in drawn(page)
    cost.send_keys("time")
    wait(page, lambda: "time of a step (s)" in drawn(page))
    assert "219k" not in drawn(page)
    assert len(points(page)) == before
    rules = page.find_elements(By.CSS_SELECTOR, "#rules input")
    assert [rule.find_element(By.XPATH, "..").text for rule in rules] == [
        "width",
        "depth",
        "resolution",
        "compound",
        THE_PAPER,
    ]
    rules[1].send_keys(Keys.SPACE)
    wait(page, lambda: len(points(page)) == before - 3)
    assert not [
        point for point in points(page) if "depth" in str(point.get_attribute("aria-label"))
    ]
    rules[1].send_keys(Keys.SPACE)
    wait(page, lambda: len(points(page)) == before)


def test_every_rule_may_be_switched_off(page: Chrome) -> None:
    page.get_log("browser")
    for rule in page.find_elements(By.CSS_SELECTOR, "#rules input"):
        rule.click()
    wait(page, lambda: not points(page))
    assert page.get_log("browser") == []


def test_a_point_tells_network_interval_and_seeds(page: Chrome, results: Results) -> None:
    row = results.summary[results.summary["label"] == "compound phi=2"].iloc[0]
    [point] = [
        point
        for point in points(page)
        if str(point.get_attribute("aria-label")).startswith("compound phi=2")
    ]
    page.execute_script("document.querySelector('#chart').scrollIntoView({block: 'center'})")
    ActionChains(page).move_to_element(point).perform()
    wait(page, lambda: page.find_elements(By.CSS_SELECTOR, "#vg-tooltip-element.visible"))
    shown = page.find_element(By.ID, "vg-tooltip-element").text
    assert "compound phi=2" in shown
    assert f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %" in shown
    assert all(f"{seed}: " in shown for seed in range(row["n"]))


def test_arrow_keys_and_a_tap_choose_a_mean(page: Chrome, results: Results) -> None:
    chart, told = page.find_element(By.ID, "chart"), page.find_element(By.ID, "told")
    chart.send_keys(Keys.ARROW_RIGHT)
    first = told.text
    assert page.switch_to.active_element.get_attribute("aria-label") == first
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert told.text != first
    page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert told.text == first
    row = results.summary[results.summary["label"] == "depth phi=2"].iloc[0]
    [mark] = [
        point
        for point in points(page)
        if str(point.get_attribute("aria-label")).startswith("depth phi=2")
    ]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    box = page.execute_script("return arguments[0].getBoundingClientRect().toJSON()", mark)
    finger = ActionBuilder(page, mouse=PointerInput("touch", "finger"))
    finger.pointer_action.move_to_location(
        round(box["right"]), round(box["top"])
    ).pointer_down().pointer_up()
    finger.perform()
    wait(page, lambda: told.text.startswith("depth phi=2"))
    assert (
        f"mean {100 * row['mean']:.1f} %, 95 % interval {100 * row['low']:.1f} to {100 * row['high']:.1f} %"
        in told.text
    )


def test_a_table_sorts_by_keyboard_and_by_click(page: Chrome) -> None:
    table = page.find_element(By.CSS_SELECTOR, "section[aria-labelledby=runs] table")
    head = next(
        button
        for button in table.find_elements(By.CSS_SELECTOR, "thead button")
        if button.text.startswith("evaluation")
    )
    before = column(table, "evaluation")
    known = sorted((text for text in before if text), key=lambda text: float(text.rstrip("%")))
    assert before.count("") == 2 and before != [*known, "", ""]
    head.send_keys(Keys.ENTER)
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    assert column(table, "evaluation") == [*known, "", ""]
    head.send_keys(Keys.SPACE)
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    assert column(table, "evaluation") == [*known[::-1], "", ""]
    table.find_element(By.CSS_SELECTOR, "thead button").click()
    assert column(table, "network") == sorted(column(table, "network"))
    assert len(table.find_elements(By.CSS_SELECTOR, "[aria-sort]")) == 1


def box(chrome: Chrome, selector: str) -> dict[str, float]:
    """Where the first visible element of a kind lies on the screen."""
    script = """
      const seen = [...document.querySelectorAll(arguments[0])].find(element => element.offsetParent);
      return seen.getBoundingClientRect().toJSON()"""
    return chrome.execute_script(script, selector)


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_first_screen_holds_question_answer_and_figure(
    chrome: Chrome, address: str, width: int, height: int
) -> None:
    opened(chrome, address, width, "light", height)
    heading, answer, picture = (box(chrome, it) for it in ("h1", ".answer", ".lead img"))
    assert 0 <= heading["top"] < heading["bottom"] <= answer["top"]
    assert answer["bottom"] <= picture["top"] < picture["bottom"] <= height
    assert picture["right"] <= width and picture["height"] > 200
    after = [
        box(chrome, it)["top"] for it in (".tally", ".verdicts", "#chart", "#figures", "#runs")
    ]
    assert after == sorted(after) and after[0] > picture["bottom"]
    keep(f"first-{width}.png", chrome.execute_cdp_cmd("Page.captureScreenshot", {}))


def test_a_phone_shows_a_figure_of_its_own_or_says_that_it_scrolls(
    chrome: Chrome, address: str
) -> None:
    opened(chrome, address, 390, "light", 844)
    script = """
      return [...document.querySelectorAll("figure")].map(figure => {
        const [image] = [...figure.querySelectorAll("img")].filter(each => each.offsetParent);
        const hint = figure.querySelector(".hint");
        return [image.className, image.parentElement.scrollWidth <= image.parentElement.clientWidth,
                Boolean(hint && hint.offsetParent)];
      })"""
    figures = chrome.execute_script(script)
    assert len(figures) > 5 and figures[0] == ["narrow", True, False]
    for kind, fits, says in figures:
        assert (kind, fits, says) in (("narrow", True, False), ("wide", False, True))


def test_the_axis_is_logarithmic_or_linear_and_the_papers_lines_can_go(page: Chrome) -> None:
    selects = page.find_elements(By.CSS_SELECTOR, "#axes select")
    axis = next(each for each in selects if "linear" in each.text)
    assert "219k" in drawn(page) and "438k" in drawn(page)
    Select(axis).select_by_visible_text("linear")
    wait(page, lambda: "219k" not in drawn(page))
    assert "450k" in drawn(page) and "600k" in drawn(page)
    dashed = "#chart path[stroke-dasharray]"
    lines = len(page.find_elements(By.CSS_SELECTOR, dashed))
    assert lines >= 4
    page.find_elements(By.CSS_SELECTOR, "#rules input")[-1].send_keys(Keys.SPACE)
    wait(page, lambda: len(page.find_elements(By.CSS_SELECTOR, dashed)) < lines)


def test_figures_and_chart_are_saved_as_files(page: Chrome) -> None:
    """What a link would have the browser write, caught on its way."""
    catch = """
      window.saved = [];
      HTMLAnchorElement.prototype.click = function () {
        saved.push([this.download, this.href.slice(0, 30), this.href.length]);
      };"""
    page.execute_script(catch)
    for button in page.find_elements(
        By.CSS_SELECTOR, "#figure-compound .save button, #save-chart button"
    ):
        page.execute_script("arguments[0].click()", button)
    wait(page, lambda: page.execute_script("return saved.length") == 4)
    saved = {name: (kind, size) for name, kind, size in page.execute_script("return saved")}
    assert set(saved) == {"compound.svg", "compound.png", "chart.svg", "chart.png"}
    assert saved["compound.svg"][0].startswith("data:image/svg+xml,")
    assert (
        saved["compound.png"][0].startswith("data:image/png") and saved["compound.png"][1] > 20_000
    )
    assert saved["chart.png"][0].startswith("data:image/png")


def test_figures_are_dark_on_a_dark_screen(chrome: Chrome, address: str) -> None:
    """The corner of a figure, as the browser paints it."""
    corner = """
      const image = document.querySelector(".lead .wide"), canvas = document.createElement("canvas");
      canvas.width = canvas.height = 9;
      canvas.getContext("2d").drawImage(image, 0, 0);
      return [...canvas.getContext("2d").getImageData(2, 2, 1, 1).data]"""
    for scheme, colour in (("light", [255, 255, 255, 255]), ("dark", [13, 17, 23, 255])):
        opened(chrome, address, 1280, scheme)
        assert chrome.execute_script(corner) == colour


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_leaves_the_screen_and_images_stay_light(
    chrome: Chrome, address: str, width: int, scheme: str
) -> None:
    opened(chrome, address, width, scheme)
    for details in chrome.find_elements(By.TAG_NAME, "details"):
        chrome.execute_script("arguments[0].open = true", details)
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= width
    ground = chrome.execute_script(
        "return getComputedStyle(document.documentElement).backgroundColor"
    )
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    grounds = (
        "return [...document.querySelectorAll(arguments[0])].map(card => "
        "getComputedStyle(card).backgroundColor)"
    )
    cards = chrome.execute_script(grounds, ".card:not(.bright)")
    assert len(cards) > 5 and set(cards) == {ground}
    assert set(chrome.execute_script(grounds, ".card.bright")) == {"rgb(255, 255, 255)"}
    for details in chrome.find_elements(By.TAG_NAME, "details"):
        chrome.execute_script("arguments[0].open = false", details)
    height = chrome.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    keep(
        f"{width}-{scheme}.png",
        chrome.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        ),
    )


def test_a_print_holds_the_figures_and_no_controls(page: Chrome) -> None:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = (
        "return [...document.querySelectorAll(arguments[0])].map(element => element.offsetParent !== "
        "null)"
    )
    assert set(page.execute_script(shown, "figure img.wide, .verdicts, pre")) == {True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SHEET)
    tables = "return [...document.querySelectorAll('table')].map(each => each.scrollWidth)"
    assert max(page.execute_script(tables)) <= SHEET["width"]
    hidden = "nav, #axes, #chart, .save, .hint, img.narrow"
    assert set(page.execute_script(shown, hidden)) == {False}
    assert keep(
        "print.pdf",
        page.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69}),
    ).startswith(b"%PDF")


def keep(name: str, answer: dict[str, str]) -> bytes:
    """What the browser made, as a file to look at."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    path: Path = PICTURES / name
    path.write_bytes(base64.b64decode(answer["data"]))
    return path.read_bytes()
