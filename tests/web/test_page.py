"""The page in a real browser: what a person reads there, with friendly numbers and with hostile ones."""

from __future__ import annotations

import re
import time
import tomllib
from pathlib import Path

import pytest

from neptune_flow.vitals import SERVICES, CommitFacts, Phase, Sample
from neptune_flow.web.page import CONTENT_SECURITY_POLICY, PAGE
from tests.test_vitals import facts
from tests.web.browser import Browser
from tests.web.conftest import Place

HOSTILE = (
    "<script>window.harmed=1</script>",
    "<img src=x onerror=window.harmed=1>",
    "</td></table><svg onload=window.harmed=1>",
    "javascript:window.harmed=1",
    "${window.harmed=1}",
    "\u202eesrever\u0000\ufeff",
    "a" * 3000,
    "'\"`\\\n&lt;",
    "__proto__",
)


def just_landed(**changes: object) -> CommitFacts:
    now_s = time.time()
    return facts(began_s=now_s - 1, landed_s=now_s, watermark_least=round((now_s - 60) * 1e6), **changes)


def test_the_page_shows_that_data_lands_and_follows_without_being_loaded_again(place: Place, browser: Browser) -> None:
    vitals = place.vitals
    vitals.partition(7).log_end, vitals.partition(7).waiting_since_s = 123_456, time.time()
    vitals.has_committed(just_landed(rows=1234, ranges={7: (0, 123_000)}))
    browser.shape(1200, 900)
    browser.open(place.address)
    browser.wait_text("Data lands.", "#word")
    browser.run("window.mark = 1")
    assert "456" in browser.text("#facts"), "messages behind Kafka"
    assert "123,000" in browser.text("#partitions")
    assert "1,234" in browser.text("#commits")
    assert "1,234" in browser.text("#route")
    vitals.has_committed(just_landed(rows=7, ranges={7: (123_000, 123_456)}))
    vitals.partition(7).waiting_since_s = None
    browser.wait_text("All that Kafka holds is in the table.", "#word")
    assert "1,241" in browser.text("#route")
    assert browser.run("window.mark") == 1, "it was not loaded again"
    assert browser.run("document.title").startswith("● Neptune")


def test_the_page_says_what_is_wrong_and_where(place: Place, browser: Browser) -> None:
    place.vitals.waits_for("catalog", "the catalog does not answer")
    browser.open(place.address)
    browser.wait_text("Data may not land.", "#word")
    assert "catalog has been away" in browser.text("#reasons")
    assert "the catalog does not answer" in browser.text("#health")
    assert browser.run("document.querySelectorAll('#route .bad .name').length") == 2, "table and quarantine"
    assert browser.run("document.title").startswith("▲")
    place.vitals.waits_for("catalog", None)
    place.vitals.phase = Phase.DRAINING
    browser.wait_text("Draining:", "#word")
    place.vitals.phase = Phase.STARTING
    browser.wait_text("Starting:", "#word")


def test_the_page_says_when_the_process_is_gone_and_when_it_is_back(place: Place, browser: Browser) -> None:
    browser.open(place.address)
    browser.wait_text("nothing is committed yet", "#word")
    port = place.server.port
    place.server.close()
    browser.wait_text("The process does not answer. What you see is from", "#word")
    browser.wait_text("nothing listens on its port", "#reasons")
    assert "gone" in browser.run("document.body.className")
    place.open(port)
    browser.wait_text("nothing is committed yet", "#word")
    assert "gone" not in browser.run("document.body.className")


@pytest.fixture
def hostile() -> Place:
    place = Place(NEPTUNE_HTTP_SAMPLES="true", ICEBERG_TABLE="<b id=bold>x", KAFKA_CONSUMER_GROUP=HOSTILE[1])
    for number, text in enumerate(HOSTILE):
        place.vitals.samples.append(Sample(0.0, number, 1, text, text, text, text.encode()))
        place.vitals.rejects[text] = number + 1
    for service in SERVICES:
        place.vitals.waits_for(service, " ".join(HOSTILE))
    place.vitals.stop_reason = HOSTILE[0]
    return place


def test_text_from_messages_is_shown_as_text_and_nothing_of_it_runs(hostile: Place, browser: Browser) -> None:
    browser.open(hostile.address)
    browser.wait_text(HOSTILE[0], "#samples")
    shown = browser.run("document.body.textContent")
    assert [text for text in HOSTILE if text.replace("\x00", "") not in shown.replace("\x00", "")] == []
    assert "<b id=bold>x" in browser.text("#where")
    time.sleep(2.5)  # once more drawn
    assert browser.run("window.harmed") is None
    assert browser.run("document.querySelectorAll('img, script, iframe, object, b').length") == 1, "its own script"
    assert browser.run("({}).harmed ?? Object.keys(Object.prototype).length") == 0
    browser.shape(390, 844, is_phone=True)
    assert browser.run("document.documentElement.scrollWidth") <= 390, "long texts do not widen it"
    hostile.server.close()


def test_the_page_asks_nobody_but_its_own_process_and_lets_nothing_else_run(place: Place, browser: Browser) -> None:
    before = len(browser.said)
    browser.open(place.address)
    browser.wait_text("nothing is committed yet", "#word")
    asked = browser.run("performance.getEntriesByType('resource').map(e => e.name)")
    assert set(asked) == {f"{place.address}status.json"}
    assert browser.said[before:] == [], "no error of the page, and nothing that its own policy refused"
    browser.run("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran=1'}))")
    browser.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.ran=1>')")
    assert browser.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    assert browser.run("window.ran") is None
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    links = re.findall(r"(?:src|href)=\"(?!data:)([^\"]*)\"", PAGE.decode())
    assert set(links) == {"healthz", "readyz", "livez", "status.json"}


def test_the_page_can_be_read_on_a_phone_and_by_a_screen_reader(place: Place, browser: Browser) -> None:
    for number in range(12):
        place.vitals.partition(number).log_end = 10**12
    place.vitals.has_committed(just_landed(snapshot=2**62))
    place.vitals.rejects["missing"] = 3
    browser.shape(360, 740, is_phone=True)
    browser.open(place.address)
    browser.wait_text("Data lands.", "#word")
    assert browser.run("document.documentElement.scrollWidth") == 360
    assert browser.run("document.querySelector('#route svg').getAttribute('viewBox')") == "0 0 360 474", "top to bottom"
    assert "Kafka: " in browser.run("document.querySelector('svg[role=img]').getAttribute('aria-label')")
    unnamed = "[...document.querySelectorAll('table, [role=meter], [role=region]')].filter(e => !e.getAttribute('aria-label')).length"
    assert browser.run(unnamed) == 0
    assert browser.run("[...document.querySelectorAll('th')].every(e => e.scope === 'col' && e.textContent)")
    assert browser.run("document.querySelector('#word').getAttribute('role')") == "status"
    browser.shape(1200, 740)
    browser.wait_for("document.querySelector('#route svg').getAttribute('viewBox').startsWith('0 0 960')")


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_stands_out_from_its_ground_in_light_and_dark(scheme: int) -> None:
    colours = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", part)) for part in PAGE.decode().split(":root {")[1:]]
    own = colours[scheme]
    grounds = {"ink": ("ground", "card", "alert-wash"), "soft": ("ground", "card"), "accent": ("ground", "card")}
    for text, on in {**grounds, "alert": ("card", "alert-wash")}.items():
        for ground in on:
            light, dark = sorted((_luminance(own[text]), _luminance(own[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{text} on {ground}: WCAG 2 AA"


def test_the_page_is_part_of_the_installed_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "web/page.html" in project["tool"]["setuptools"]["package-data"]["neptune_flow"]
