"""Opens every page of the program in a browser and uses it: the dashboard of `dinoxide serve` while a run goes on, and the
pages it writes to disk. Exits with 1 and says what does not hold.

    python tests/browser/pages.py --dinoxide target/release/dinoxide --images photos/ [PAGE.html ...]

`photos/` has a folder per class. The browser is the chromium of the system; nothing is downloaded.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Error as BrowserError
from playwright.sync_api import expect, sync_playwright

WIDTHS = (400, 1400)
SCHEMES = ("light", "dark")
PATIENCE_MS = 30_000
# Sum of the shifts of the page while figures arrive; 0 is none, above 0.1 is called bad by those who defined it.
SHIFT_ALLOWED = 0.01
TINY = [
    "model.embed_dim=24", "model.depth=2", "model.num_heads=2", "model.patch_size=8", "model.image_size=32",
    "views.global.size=32", "views.local.size=16", "views.local.count=2", "head.out_dim=64", "head.hidden_dim=32",
    "head.bottleneck_dim=16", "run.batch=8", "run.threads=1", "eval.knn_k=5", "log.every_steps=1",
]


def check(holds, what):
    if not holds:
        raise AssertionError(what)


def run(*command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    check(done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr}")


def pretrain(dinoxide, images, out, *more):
    command = [str(dinoxide), "pretrain", str(images), "-o", str(out), "--val", str(images)]
    for value in TINY + list(more):
        command += ["--set", value]
    return command


class Watched:
    """A page of the browser that remembers what must not happen."""

    def __init__(self, browser, scheme, width, allowed):
        self.context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.where, self.wrong, self.tolerated = f"{scheme}, {width} px", [], None
        self.page.on("pageerror", lambda error: self.note(f"script error: {error}"))
        self.page.on("console", lambda message: message.type == "error" and self.note(f"console: {message.text}"))
        self.page.on("request", lambda request: self.requested(request.url, allowed))

    def note(self, what):
        if not (self.tolerated and re.search(self.tolerated, what)):
            self.wrong.append(what)

    def requested(self, url, allowed):
        if not url.startswith((*allowed, "data:", "blob:")):
            self.note(f"request to {url[:200]}")

    def verify(self, what):
        """No error so far, every picture there, nothing wider than the window."""
        self.page.wait_for_function("[...document.images].every(image => image.complete)")
        broken = self.page.evaluate("[...document.images].filter(image => image.naturalWidth === 0).map(image => image.src.slice(0, 120))")
        check(not broken, f"{what} ({self.where}): pictures not loaded: {broken}")
        wide = self.page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth, window.innerWidth]")
        check(max(wide[:2]) <= wide[2], f"{what} ({self.where}): {max(wide[:2])} px wide in a window of {wide[2]}")
        check(not self.wrong, f"{what} ({self.where}): {'; '.join(self.wrong)}")

    def keep(self, folder, name):
        if folder:
            self.page.screenshot(path=str(folder / f"{name}-{self.where.replace(', ', '-').replace(' px', '')}.png"), full_page=True)


def open_file(browser, file, keep):
    for scheme in SCHEMES:
        for width in WIDTHS:
            watched = Watched(browser, scheme, width, ("file://",))
            watched.page.goto(file.resolve().as_uri())
            watched.verify(file.name)
            shades = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
            dark = sum(map(int, re.findall(r"\d+", shades)[:3])) < 3 * 128
            check(dark == (scheme == "dark"), f"{file.name} does not follow the colour scheme {scheme}: {shades}")
            watched.keep(keep, file.stem)
            watched.context.close()


def last_step(page, run):
    """The step at which the curve of a run ends."""
    return int(page.locator(f'[data-chart="loss"] path.line[data-run="{run}"]').get_attribute("data-last"))


def row(page, name):
    return page.locator("#runs tbody tr").filter(has=page.get_by_role("button", name=name, exact=True))


def use_dashboard(browser, address, keep):
    watched = Watched(browser, "light", 1400, (address,))
    page = watched.page
    page.goto(address)
    expect(page.locator("#link-word")).to_have_text("live")
    expect(page.locator("#runs tbody tr")).to_have_count(4)
    expect(row(page, "first")).to_contain_text("finished")
    expect(row(page, "under-way")).to_contain_text("running")
    expect(row(page, "torn")).to_contain_text("unreadable")
    expect(row(page, "under-way").locator("input")).to_be_checked()
    watched.verify("dashboard, as it opens")

    compare(page)
    grow(page)
    read_values(page)
    move_slider(page)
    read_pages(page, address)
    watched.verify("dashboard, used")
    watched.keep(keep, "dashboard")
    watched.context.close()


def compare(page):
    row(page, "first").locator("button").click()
    expect(row(page, "under-way").locator("input")).not_to_be_checked()
    row(page, "second").locator("input").check()
    row(page, "under-way").locator("input").check()
    expect(page.locator("#legend li")).to_contain_text(["first", "second", "under-way"])
    for chart in ("loss", "entropy", "kl", "knn_top1", "lr", "images_per_second"):
        page.wait_for_function("([chart]) => document.querySelectorAll(`[data-chart=\"${chart}\"] path.line`).length >= 2", arg=[chart])
    expect(page.locator('[data-chart="loss"] .reference')).to_have_count(1)
    expect(page.locator('[data-chart="loss"] text', has_text="ln K")).to_have_text("ln K = 4.159")
    expect(page.locator("#difference-table")).to_contain_text("optim.lr")
    expect(page.locator("#difference-table")).not_to_contain_text("head.out_dim")
    page.locator("#by-epoch").click()
    expect(page.locator("#by-epoch")).to_have_attribute("aria-pressed", "true")
    page.locator("#smooth").fill("0.9")
    expect(page.locator('[data-chart="loss"] path.faint')).to_have_count(3)
    page.locator("#smooth").fill("0")
    page.locator("#by-step").click()
    # A frame later, curves and button say so together.
    expect(page.locator("#by-step")).to_have_attribute("aria-pressed", "true")


def grow(page):
    """The curve of the run under way gets longer without a reload, and nothing moves or is deselected."""
    page.evaluate("""() => {
        window.shift = 0;
        window.sameDocument = true;
        new PerformanceObserver(list => list.getEntries().forEach(entry => { window.shift += entry.value; })).observe({ type: "layout-shift" });
    }""")
    longer = "step => Number(document.querySelector('[data-chart=\"loss\"] path.line[data-run=\"under-way\"]').dataset.last) > step"
    # Twice: what comes first may have been on its way already.
    for _ in range(2):
        page.wait_for_function(longer, arg=last_step(page, "under-way"))
    check(page.evaluate("window.sameDocument"), "the page was loaded again")
    expect(page.locator("#runs input:checked")).to_have_count(3)
    shift = page.evaluate("window.shift")
    check(shift <= SHIFT_ALLOWED, f"the page shifted by {shift} while figures arrived")


def read_values(page):
    chart = page.locator('[data-chart="loss"]')
    chart.locator("svg").hover(position={"x": 150, "y": 80})
    expect(chart.locator(".tip")).to_contain_text("first")
    expect(chart.locator(".tip")).to_contain_text("step")
    page.mouse.move(2, 2)
    expect(chart.locator(".tip")).to_be_hidden()
    chart.locator("svg").focus()
    page.keyboard.press("End")
    expect(chart.locator(".tip")).to_contain_text("under-way")
    page.keyboard.press("Escape")
    expect(chart.locator(".tip")).to_be_hidden()


def move_slider(page):
    row(page, "first").locator("button").click()
    expect(page.locator("#kinds button[aria-pressed=true]")).to_have_text("attention")
    expect(page.locator("#epoch-word")).to_have_text("latest")
    shade = "() => { const image = document.querySelector('#stage img'); return image && image.naturalWidth > 0 ? image.src : null; }"
    for kind in ("attention", "pca", "neighbors", "map"):
        page.locator("#kinds button", has_text=re.compile(f"^{kind}$")).click()
        seen = set()
        for place in ("0", "1", "2"):
            page.locator("#epoch").fill(place)
            expect(page.locator("#epoch-word")).to_have_text(place)
            page.wait_for_function(f"end => (({shade})() ?? '').includes(end)", arg=f"/pictures/{kind}/epoch-000{place}.")
            seen.add(page.evaluate(shade))
        check(len(seen) == 3, f"the slider does not show three pictures of {kind}: {seen}")
    for kind in ("augmentations", "loss"):
        page.locator("#kinds button", has_text=re.compile(f"^{kind}$")).click()
        page.wait_for_function(f"kind => (({shade})() ?? '').includes(kind)", arg=f"/pictures/{kind}.")


def read_pages(page, address):
    expect(page.locator("#log")).to_contain_text("step")
    page.locator("#config summary").click()
    expect(page.locator("#config-text")).to_contain_text("out_dim = 64")
    with page.context.expect_page() as opened:
        page.locator("#report").click()
    report = opened.value
    report.wait_for_load_state()
    check(report.url.startswith(address), f"the report is at {report.url}")
    expect(report.locator("h1")).to_have_text("first")
    report.close()


def look_at_dashboard(browser, address, keep):
    """Every width and scheme with two runs selected."""
    for scheme in SCHEMES:
        for width in WIDTHS:
            watched = Watched(browser, scheme, width, (address,))
            watched.page.goto(f"{address}#runs=first,second")
            expect(watched.page.locator("#runs input:checked")).to_have_count(2)
            expect(watched.page.locator('[data-chart="loss"] path.line')).to_have_count(2)
            watched.page.wait_for_selector("#stage img")
            watched.verify("dashboard with two runs")
            watched.keep(keep, "two-runs")
            watched.context.close()


def lose_things(browser, address, runs, server):
    """A run that is deleted while it is shown, and a server that ends: the page says so and goes on."""
    watched = Watched(browser, "dark", 400, (address,))
    page = watched.page
    page.goto(f"{address}#runs=first,second")
    expect(page.locator("#runs input:checked")).to_have_count(2)
    watched.tolerated = "404|ERR_|Failed to load resource"
    shutil.rmtree(runs / "second")
    expect(row(page, "second")).to_have_count(0)
    expect(page.locator("#notice")).to_contain_text("second was deleted")
    expect(page.locator("#runs input:checked")).to_have_count(1)
    server.send_signal(signal.SIGINT)
    check(server.wait(timeout=20) == 0, f"`dinoxide serve` ended with {server.returncode} on Ctrl-C")
    expect(page.locator("#notice")).to_contain_text("dinoxide serve")
    watched.verify("dashboard without its server")
    watched.context.close()


def start_server(dinoxide, runs):
    server = subprocess.Popen([str(dinoxide), "serve", str(runs), "--port", "0"], stderr=subprocess.PIPE, text=True)
    first = server.stderr.readline()
    found = re.search(r"http://\S+", first)
    check(found, f"`dinoxide serve` did not say where the page is: {first}")
    return server, found.group()


def prepare(given, work):
    """Two finished runs with pictures before the first and after each of two epochs, and one that is no run."""
    runs = work / "runs"
    run(*pretrain(given.dinoxide, given.images, runs / "first", "run.epochs=2"))
    run(*pretrain(given.dinoxide, given.images, runs / "second", "run.epochs=2", "optim.lr=0.003"))
    (runs / "torn").mkdir()
    (runs / "torn/config.toml").write_text("[run\n")
    (runs / "torn/environment.json").write_text("{}")
    run(given.dinoxide, "check", given.images, "-o", work / "data.html")
    return runs


def main():
    expect.set_options(timeout=PATIENCE_MS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, help="further pages to open")
    parser.add_argument("--dinoxide", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="a folder per class")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("chromium-browser"))
    parser.add_argument("--keep", type=Path, help="folder for screenshots")
    given = parser.parse_args()
    if not given.chromium:
        parser.error("no chromium in PATH; name one with --chromium")
    processes = []
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        try:
            runs = prepare(given, Path(work))
            log = (Path(work) / "under-way.log").open("w")
            endless = pretrain(given.dinoxide, given.images, runs / "under-way", "run.epochs=100000", "run.batch=16")
            processes.append(subprocess.Popen(endless, stdout=log, stderr=log))
            while not (runs / "under-way/metrics.jsonl").exists() or not (runs / "under-way/metrics.jsonl").stat().st_size:
                check(processes[0].poll() is None, f"the run in the background ended: {Path(log.name).read_text()}")
                time.sleep(0.1)
            server, address = start_server(given.dinoxide, runs)
            processes.append(server)
            # Chromium's sandbox does not start for root.
            options = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=given.chromium, args=options)
            for file in [runs / "first/report.html", Path(work) / "data.html", *given.pages]:
                open_file(browser, file, given.keep)
                print(f"ok: {file.name}")
            use_dashboard(browser, address, given.keep)
            look_at_dashboard(browser, address, given.keep)
            lose_things(browser, address, runs, server)
            print("ok: dashboard")
            browser.close()
        except (AssertionError, BrowserError) as wrong:
            sys.exit(f"error: {wrong}")
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()


if __name__ == "__main__":
    main()
