"""What the page says, in a real browser: names of any kind, times across midnight, what is not known yet, and what is asked of the server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from alert_lives import life
from axe_playwright_python.base import AXE_FILE_PATH
from browser import browser_page
from served_page import answered, filled, served

from pipeline.dashboard import reaching
from pipeline.dashboard.board import Board
from pipeline.errors import BrokerError
from pipeline.settings import KafkaSettings

LONG = (
    "k8s/prod-eu-central-1/namespace=payments-and-settlements-backoffice/pod=ledger-reconciliation-worker-7f9c5d6b8d-x2x9q/"
    * 3
)
NAMES = [LONG, "مبيعات/القاهرة", "sales 🛒 café", "a\u202etxt.exe", "zero\u200bwidth", "bell\u0007s", "first\nsecond"]
SEEN = {"a\u202etxt.exe": r"a\u202etxt.exe", "zero\u200bwidth": r"zero\u200bwidth", "bell\u0007s": r"bell\u0007s"}
SHOTS = Path(__file__).parents[3] / "out" / "page"
LOOKED = {
    "at": 0.0, "kafka": "", "store": "", "workers": ["w"], "words": [],
    "streams": [{"name": "taxi", "verdict": "live", "why": "", "topic": "t", "lag": 0, "rate": 1.0, "coming": 1.0, "silences": [], "decisions": 9, "scores": "",
                 "live": 1, "warming": 0, "replays": [], "partitions": []}],
}  # fmt: skip
RIGHTS = {
    "operator": True,
    "operators": True,
    "streams": [{"name": "taxi", "topic": "taxi.observations", "scores": ""}],
}


async def test_names_of_any_kind_are_shown_whole_and_turn_or_hide_nothing():
    from playwright.async_api import expect

    records = {name: life(name, start=2 * i) for i, name in enumerate(NAMES)}
    labelled = [msgspec.structs.replace(r, labels={"owner": LONG, "who\u202e": "x"}) for r in records[LONG]]
    board = filled(*labelled, *[r for name in NAMES[1:] for r in records[name]])
    for i in range(1_234):
        board.take(msgspec.structs.replace(records[LONG][0], id=f"{i:08x}", series=f"host-{i}"))
    async with served(board) as address, browser_page(f"{address}#/alerts", width=390, height=844) as page:
        await expect(page.locator(".badge")).to_have_text("1234")
        for link in await page.locator("nav a").all():
            box = await link.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390, await link.inner_text()
        for name in NAMES:
            await page.evaluate("id => { location.hash = `#/alerts?alert=${id}`; }", records[name][0].id)
            detail = page.locator(".detail")
            await expect(detail.locator("h2")).to_have_text(SEEN.get(name, name))
            await expect(detail.locator(".plot canvas")).to_have_count(1)
            assert await detail.evaluate("e => e.scrollWidth <= e.clientWidth"), name
            assert not set(await detail.inner_text()) & {"\u202e", "\u200b", "\u0007"}
        assert page.problems == []


async def test_the_end_of_an_alert_names_its_day_where_that_is_another_one():
    from playwright.async_api import expect

    *_, last = life("a")
    over = {
        "x": ("2026-10-24T23:30:00.000Z", "2026-10-25T01:30:00.000Z", "over at 02:30"),
        "y": ("2026-06-01T21:50:00.000Z", "2026-06-01T22:10:00.000Z", "over at 2026-06-02 00:10"),
    }
    board = filled(
        *[msgspec.structs.replace(last, id=i, starts_at=a, last_seen=b, ends_at=b) for i, (a, b, _) in over.items()]
    )
    async with (
        served(board) as address,
        browser_page(f"{address}#/alerts?alert=x", timezone_id="Europe/Berlin") as page,
    ):
        for i, (_, _, told) in over.items():
            await page.evaluate("id => { location.hash = `#/alerts?alert=${id}`; }", i)
            await expect(page.locator(".tiles")).to_contain_text(told)
        await page.locator(".menu summary").click()
        await page.get_by_role("button", name="times in Europe/Berlin").click()
        await expect(page.locator(".tiles")).to_contain_text("over at 22:10")
        await page.locator("h2").click()
        await expect(page.locator(".menu")).not_to_have_attribute("open", "")  # it is in the way of nothing


async def test_a_page_that_has_just_begun_says_no_more_than_it_knows():
    from playwright.async_api import expect

    board = Board()
    async with served(board) as address, browser_page(f"{address}#/nowhere") as page:
        await expect(page.locator("#connection")).to_have_text("reading")
        await expect(page.locator("main")).to_contain_text("reading the alert topic …")
        await expect(page.locator("main")).not_to_contain_text("No alerts yet")
        await expect(page.locator('nav [aria-current="page"]')).to_have_text("overview")
        board.say("read", b'{"all": true}')
        await expect(page.locator("main")).to_contain_text("No alerts yet")
        board.say("kafka", json.dumps({"away": "Kafka does not answer: see `tidewatch doctor`"}).encode())
        await expect(page.locator("#connection")).to_have_text("Kafka away")
        await expect(page.locator(".standing code")).to_have_text("tidewatch doctor")
        board.say("kafka", b'{"away": ""}')
        await expect(page.locator("#connection")).to_have_text("alerts only")


async def test_a_page_that_knows_no_streams_asks_whether_kafka_is_there(monkeypatch):
    def away(_):
        raise BrokerError("nobody answers")

    monkeypatch.setattr(reaching, "connect_admin", away)
    monkeypatch.setattr(reaching, "EVERY", 0.01)
    board = Board()
    asking = asyncio.create_task(reaching.watch_kafka(KafkaSettings(), "tidewatch.alerts", board))
    with board.listener() as queue:
        assert (await queue.get())[0] == "alerts"
        assert await queue.get() == ("kafka", b'{"away": "nobody answers"}')
    asking.cancel()


async def test_the_client_that_asks_is_kept_until_it_gets_no_answer(monkeypatch):
    made, answers = [], iter(["", "", "away", "", ""])

    class Client:
        """As the library's: one in which nothing waits is false."""

        def __len__(self):
            return 0

    def connect(_):
        made.append(Client())
        return made[-1]

    def describe(*_):
        if told := next(answers):
            raise BrokerError(told)

    monkeypatch.setattr(reaching, "connect_admin", connect)
    monkeypatch.setattr(reaching.topics, "describe", describe)
    admin, told = None, []
    for _ in range(5):
        admin, away = reaching._asked(admin, KafkaSettings(), "tidewatch.alerts")
        told.append(away)
    assert told == ["", "", "away", "", ""]
    assert len(made) == 2


async def test_alerts_that_overlap_in_time_are_shown_together():
    from playwright.async_api import expect

    early = [life("a", start=0)[-1], life("b", start=2)[-1]]
    fires = life("c", start=60, values=(5.0,))[-1]
    late = msgspec.structs.replace(
        life("d", start=1)[-1],
        id="d",
        starts_at="2014-08-01T00:00:00.000Z",
        last_seen="2014-08-01T00:05:00.000Z",
        ends_at="2014-08-01T00:05:00.000Z",
    )
    async with served(filled(*early, fires, late)) as address, browser_page(f"{address}#/alerts") as page:
        await page.get_by_label("order").select_option("together in time")
        names = page.locator(".row .series")
        await expect(names).to_have_text(["2 c", "d", "2 b", "a"])
        await expect(page.locator(".row.joined")).to_have_count(4)
        await page.reload()
        await expect(page.locator(".row.joined.first")).to_have_count(2)


async def test_a_silence_until_a_time_is_of_the_zone_that_is_shown():
    from playwright.async_api import expect

    record = life("a", values=(5.0,))[-1]
    answers = {
        "rights": RIGHTS,
        "alert": [msgspec.to_builtins(record)],
        "decisions": [],
        "points": {"points": []},
        "marks": [],
        "decide": {"serial": 7, "at": {"0": 1}},
    }
    async with answered(
        filled(record), f"#/alerts?alert={record.id}", answers=answers, timezone_id="Europe/Berlin"
    ) as page:
        await page.get_by_role("button", name="Silence…").click()
        await page.get_by_label("for").select_option("until …")
        await page.get_by_label("until (Europe/Berlin)").fill("2026-07-01T12:00")
        await page.get_by_label("who").fill("ann")
        await page.get_by_role("dialog").get_by_role("button", name="Silence").click()
        await expect(page.get_by_role("dialog")).to_contain_text("All partitions have taken it")
        [told] = page.told
        assert (told["until"], told.get("minutes"), told["exact"], told["series"]) == (
            "2026-07-01T10:00:00.000Z",
            None,
            True,
            "a",
        )


async def test_who_asked_for_it_hears_and_is_told_of_what_fires_in_one_word_where_it_is_much():
    from playwright.async_api import expect

    [first, *_] = life("first", values=(5.0,))
    board = filled(first)
    stand_in = """
      window.notes = []; window.tones = 0;
      window.Notification = class { static permission = "default"; static async requestPermission() { return this.permission = window.may ?? "denied"; }
        constructor(title, options) { window.notes.push([title, options.body]); window.note = this; } };
      const start = OscillatorNode.prototype.start;
      OscillatorNode.prototype.start = function () { window.tones += 1; start.call(this); };
      Object.defineProperty(document, "hidden", { get: () => window.away ?? false });
    """
    async with served(board) as address, browser_page("about:blank", bypass_csp=True) as page:
        await page.add_init_script(stand_in)
        await page.goto(f"{address}#/alerts")
        await page.locator(".row").first.wait_for()
        board.take(msgspec.structs.replace(first, id="unasked"))
        await expect(page.locator(".row")).to_have_count(2)  # it came before anybody asked
        await page.get_by_label("preferences").click()
        await page.get_by_role("button", name="notify me").click()
        await expect(page.locator(".menu")).to_contain_text("lets no notifications of this address through")
        await page.evaluate("window.may = 'granted'")
        await page.get_by_role("button", name="notify me").click()
        await expect(page.get_by_role("button", name="notify me")).to_have_attribute("aria-pressed", "true")
        await page.get_by_role("button", name="sound").click()  # it is heard at once
        assert await page.evaluate("[window.notes.length, window.tones]") == [0, 1]

        await page.evaluate("window.away = true")
        board.take(msgspec.structs.replace(first, id="one", series="one"))
        await page.wait_for_function("window.tones === 2")
        assert await page.evaluate("window.notes") == [[f"{first.severity}: one", first.summary]]
        await page.evaluate("window.note.onclick()")
        await expect(page).to_have_url(f"{address}#/alerts?alert=one")
        for n in range(40):
            board.take(msgspec.structs.replace(first, id=f"many-{n}", series=f"s{n}"))
        await page.wait_for_function("window.tones > 2")
        await page.wait_for_timeout(1500)
        notes, tones = await page.evaluate("[window.notes, window.tones]")
        assert len(notes) == tones - 1
        assert len(notes) <= 4  # they may come in a few goes
        assert sum(int(title.split()[0]) for title, _ in notes[1:]) == 40

        await page.reload()
        await page.locator(".row").first.wait_for()
        await page.evaluate("window.away = true")
        await page.keyboard.press("a")
        board.take(msgspec.structs.replace(first, id="later", series="later"))
        await page.wait_for_function("window.tones === 1")
        assert [p for p in page.problems if "AudioContext" not in p] == []


def word(serial, kind, what, offset, **more):
    return {
        "serial": serial,
        "kind": kind,
        "what": what,
        "by": "ann",
        "at": "2026-07-01T10:00:00.000Z",
        "offset": offset,
        **more,
    }


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_what_was_decided_and_said_stands_in_the_life_of_an_alert_fits_and_axe_finds_nothing(width, theme):
    from playwright.async_api import expect

    *records, over = life("a")
    records = [
        msgspec.structs.replace(r, sequence=n, evidence=msgspec.structs.replace(r.evidence, offset=10 * n))
        for n, r in enumerate(records)
    ]
    taken = msgspec.structs.replace(records[-1], sequence=2, change="unacknowledged")
    shown = [records[0], msgspec.structs.replace(records[-1], sequence=1, change="acknowledged"), taken]
    marks = [
        word(9, "comment", "comment on a: of another alert", 30, text="of another alert", alert="5f0c", undone=False),
        word(8, "undo", "take back 6", 25),
        word(7, "comment", "comment on a", None, text=LONG, alert=over.id, undone=False),
        word(6, "acknowledge", "acknowledge a", 12, undone=True),
        word(5, "close", "close a", 0),  # of an alert before
    ]
    lines = [{**m, "taken": {}} for m in marks]
    answers = {
        "rights": RIGHTS,
        "alert": [msgspec.to_builtins(r) for r in shown],
        "decisions": lines,
        "points": {"points": []},
        "marks": marks,
        "decide": {"serial": 10, "at": {"0": 1}},
    }
    board = filled(taken)
    board.say("look", json.dumps(LOOKED).encode())
    async with answered(
        board,
        f"#/alerts?alert={over.id}",
        answers=answers,
        width=width,
        height=844,
        color_scheme=theme,
        bypass_csp=True,
    ) as page:
        rows = page.locator(".life > li")
        await expect(rows).to_have_count(6)
        told = [line.split()[0] for line in await rows.all_inner_texts()]
        assert told == ["anomaly", "6", "acknowledged", "8", "unacknowledged", "7"]
        undo = page.get_by_role("button", name="undo decision")
        await expect(undo).to_have_count(1)  # the comment alone is not taken back
        await page.add_script_tag(path=AXE_FILE_PATH)

        async def fits(name):
            await page.screenshot(path=SHOTS / f"{name}-{width}-{theme}.png")
            found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            assert [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found["violations"]] == [], name
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, name

        await page.locator(".life").scroll_into_view_if_needed()
        await fits("said")
        await page.get_by_role("button", name="Comment…").click()
        await page.get_by_role("textbox", name="comment").fill("the disk")
        await page.get_by_label("who").fill("ann")
        await fits("comment")
        await page.get_by_role("dialog").get_by_role("button", name="Comment").click()
        await page.get_by_role("button", name="Done").click()
        await page.get_by_role("button", name="undo decision 7").click()
        await page.get_by_role("dialog").get_by_role("button", name="Take it back").click()
        await page.get_by_role("button", name="Done").click()
        assert [(t["do"], t.get("alert"), t.get("text"), t.get("serial")) for t in page.told] == [
            ("comment", over.id, "the disk", None),
            ("undo", None, None, 7),
        ]
        await page.evaluate("location.hash = '#/decisions?stream=taxi'")
        await expect(page.get_by_role("button", name="undo…")).to_have_count(2)
        await fits("decisions")
        assert page.problems == []


async def test_a_viewer_is_told_what_acting_needs():
    from playwright.async_api import expect

    record = life("it's", values=(5.0,))[-1]
    answers = {
        "rights": RIGHTS | {"operator": False},
        "alert": [msgspec.to_builtins(record)],
        "decisions": [],
        "points": {"points": []},
        "marks": [],
    }
    async with answered(filled(record), f"#/alerts?alert={record.id}", answers=answers) as page:
        await expect(page.locator(".act")).to_contain_text("open the page with the operators' token")
        await expect(page.locator(".act code")).to_have_text("tidewatch ack taxi 'it'\\''s'")
        await expect(page.get_by_role("button", name="Silence…")).to_have_count(0)
