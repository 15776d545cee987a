"""Times in a headless Chromium what a reader of `dyhead view` waits for: scrolling, a threshold."""

import sys
import tempfile
from pathlib import Path
from threading import Thread

from measure import Timing
from results import Row

from dyhead.viewer.answers import Answers
from dyhead.viewer.server import LocalServer

# the browser that the tests of pages drive
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "shared"))
from browser import Browser  # noqa: E402

WINDOW = (1400, 900)
_TOOLS = """
window.frame = () => new Promise((done) => requestAnimationFrame(done));
// the end of the next frame, when it has been painted
window.painted = async () => {
  await frame();
  await new Promise((done) => { const { port1, port2 } = new MessageChannel();
    port1.onmessage = done; port2.postMessage(null); });
  return performance.now();
};
// the cards in the window, found at places a little apart
window.seenCards = () => {
  const seen = new Set(), { left, right } = grid.getBoundingClientRect();
  for (let x = left + 20; x < right; x += 100)
    for (let y = 80; y < innerHeight; y += 60) {
      const card = document.elementFromPoint(x, y)?.closest(".card");
      if (card) seen.add(card);
    }
  return [...seen];
};
window.seen = async (isReady) => {
  while (!seenCards().length || !seenCards().every(isReady)) await frame();
  return painted();
};
"""
# Moves the threshold; its answer is there when nothing has changed in the grid for a while after.
_THRESHOLD = """(async () => {
  const times = [], slider = document.getElementById("low");
  let last = 0;
  const watcher = new MutationObserver(async () => { last = await painted(); });
  watcher.observe(grid, { subtree: true, childList: true, characterData: true });
  for (let step = 0; step < %d; step++) {
    const begin = performance.now();
    slider.value = 0.05 + 0.9 * ((step * 0.381966) %% 1);
    slider.dispatchEvent(new Event("input"));
    while (last < begin || performance.now() - last < 250) await frame();
    times.push(last - begin);
  }
  watcher.disconnect();
  return times;
})()"""
# Scrolls on by most of a window, until the boxes, and then the pictures, of its cards are there.
_JUMP = """(async () => {
  const times = { boxes: [], pictures: [] };
  for (let step = 0; step < %d; step++) {
    const begin = performance.now();
    scrollBy({ top: 0.8 * innerHeight, behavior: "instant" });
    times.boxes.push(await seen((card) => card.querySelector("svg")) - begin);
    times.pictures.push(await seen((card) => card.querySelector("img")?.complete) - begin);
  }
  return times;
})()"""
# Scrolls all the time, and takes the time from frame to frame.
_FRAMES = """(async () => {
  const times = [];
  let before = await frame();
  for (let step = 0; step < %d; step++) {
    scrollBy({ top: -60, behavior: "instant" });
    const now = await frame();
    times.push(now - before);
    before = now;
  }
  return times;
})()"""
_TO_THE_END = """(async () => {
  while (grid.children.length < %d) {
    scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
    await frame();
  }
  await seen((card) => card.querySelector("svg") && card.querySelector("img").complete);
})()"""


def time_in_browser(answers: Answers, pictures: int, steps: int) -> list[Row]:
    """Serve the page, and time what its reader does, in milliseconds to the frame that shows it.

    Args:
        answers: of the page.
        pictures: that its first set has.
        steps: of each kind.
    """
    with LocalServer(0) as server, tempfile.TemporaryDirectory() as profile:
        thread = Thread(target=server.serve, args=[answers])
        thread.start()
        browser = Browser(Path(profile), *WINDOW)
        try:
            browser.open(server.url)
            browser.wait("document.querySelectorAll('#grid svg').length > 0")
            browser.run(_TOOLS)
            times = {"threshold, at the top": browser.run(_THRESHOLD % steps)}
            jumps = browser.run(_JUMP % steps)
            times["scroll on: boxes"] = jumps["boxes"]
            times["scroll on: pictures too"] = jumps["pictures"]
            browser.run(_TO_THE_END % pictures)
            times["threshold, at the end"] = browser.run(_THRESHOLD % steps)
            times["frame while scrolling back"] = browser.run(_FRAMES % (5 * steps))
        finally:
            browser.close()
            server.shutdown()
            thread.join()
    return [_row(task, milliseconds) for task, milliseconds in times.items()]


def _row(task: str, milliseconds: list[float]) -> Row:
    timing = Timing.of(milliseconds)
    return {
        "task": f"browser: {task}",
        "milliseconds": timing.median,
        "quartiles": [timing.low, timing.high],
        "slowest": max(milliseconds),
    }
