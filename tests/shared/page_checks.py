"""Checks of a page in a browser: every text can be read, every picture is seen whole."""

import io
import re
import statistics

import numpy as np
from browser import Browser
from PIL import Image

# The lines of text that are seen in the window: each one's words, colour, opacity and edges.
_LINES = """(() => {
  const found = [], nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const opacity = (e) => (e ? getComputedStyle(e).opacity * opacity(e.parentElement) : 1);
  while (nodes.nextNode()) {
    const node = nodes.currentNode, element = node.parentElement, range = new Range();
    if (!node.data.trim()) continue;
    range.selectNodeContents(node);
    const style = getComputedStyle(element);
    const color = element instanceof SVGElement ? style.fill : style.color;
    for (const { left, top, right, bottom, width, height } of range.getClientRects()) {
      if (width < 2 || left < 0 || top < 0 || right > innerWidth || bottom > innerHeight) continue;
      if (document.elementFromPoint(left + width / 2, top + height / 2) !== element) continue;
      found.push([node.data.trim(), color, opacity(element), [left, top, right, bottom]]);
    }
  }
  return found;
})()"""
# as a sheet that is adopted: an element is against the policy of a page that is served
_HIDE_TEXT = """(() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync("* { color: transparent !important; caret-color: transparent !important;"
    + " text-decoration: none !important; transition: none !important; }"
    + " text, tspan { fill: transparent !important; stroke: none !important; }");
  document.adoptedStyleSheets = [sheet];
})()"""
_SHOW_TEXT = "document.adoptedStyleSheets = []"
_CUT_OFF = """(() => {
  const found = [], edges = (each) => each.getBoundingClientRect();
  const name = (each) => `${each.localName}.${each.getAttribute("class") ?? ""}`;
  const isIn = (one, other) => one.left > other.left - 1 && one.right < other.right + 1
    && one.top > other.top - 1 && one.bottom < other.bottom + 1;
  const scrolls = (each) => /auto|scroll/.test(getComputedStyle(each).overflow);
  for (const each of document.querySelectorAll("img, svg")) {
    if (!edges(each).width) continue;
    if (each.naturalWidth === 0) found.push(`${name(each)} is not loaded`);
    for (let outer = each.parentElement; outer && !scrolls(outer); outer = outer.parentElement)
      if (!isIn(edges(each), edges(outer))) found.push(`${name(each)} of ${name(outer)}`);
  }
  for (const text of document.querySelectorAll("svg text"))
    if (edges(text).width && !isIn(edges(text), edges(text.ownerSVGElement)))
      found.push(`"${text.textContent}" of ${name(text.ownerSVGElement)}`);
  for (const each of document.querySelectorAll("body *"))
    if (/hidden|clip/.test(getComputedStyle(each).overflow) && !each.closest("svg")
        && each.scrollWidth > each.clientWidth + 1) found.push(`the content of ${name(each)}`);
  return found;
})()"""
_WIDE_TABLES = """[...document.querySelectorAll("table")].flatMap((table) => {
  let outer = table.parentElement;
  if (!table.offsetWidth || table.offsetWidth <= outer.clientWidth) return [];
  const isFixed = (each) => !/auto|scroll/.test(getComputedStyle(each).overflowX);
  while (outer && isFixed(outer)) outer = outer.parentElement;
  if (!outer) return [false];
  outer.scrollLeft = table.offsetWidth;
  const end = table.getBoundingClientRect().right, edge = outer.getBoundingClientRect().right;
  outer.scrollLeft = 0;
  return [end <= edge + 1];
})"""
_DEAD_LINKS = """[...document.querySelectorAll('a[href^="#"]')].filter((link) => {
  link.click();
  const to = document.getElementById(decodeURIComponent(link.hash.slice(1)));
  const top = to?.getBoundingClientRect().top;
  return !to?.getClientRects().length || top < -1 || top >= innerHeight;
}).map((link) => link.outerHTML)"""


def contrasts(page: Browser) -> list[tuple[float, str, int]]:
    """Measure all lines of text that can be scrolled to, down the page.

    Returns:
        for each its contrast (WCAG 2.1: 1 to 21) with the commonest colour that is painted behind
        it, its text, and that colour's brightness, the mean of its channels.
    """
    found = []
    page.run("scrollTo({ top: 0, behavior: 'instant' })")
    while True:
        lines = page.run(_LINES)
        page.run(_HIDE_TEXT)
        pixels = np.asarray(Image.open(io.BytesIO(page.picture())).convert("RGB"))
        page.run(_SHOW_TEXT)
        for text, color, opacity, edges in lines:
            left, top, right, bottom = (round(edge) for edge in edges)
            ground = _commonest(pixels[top:bottom, left:right])
            contrast = _contrast(_over(color, opacity, ground), ground)
            found.append((contrast, text, round(ground.mean())))
        before = page.run("scrollY")
        page.run("scrollBy({ top: innerHeight - 60, behavior: 'instant' })")
        if page.run("scrollY") <= before:
            return found


def is_on_dark(found: list[tuple[float, str, int]]) -> bool:
    """Tell of what `contrasts` returned whether most of it stands on a dark ground."""
    return statistics.median(brightness for *_, brightness in found) < 70


def overflow(page: Browser) -> int:
    """Return by how many pixels the page is wider than the window."""
    return page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def cut_off(page: Browser) -> list[str]:
    """Name pictures that are not loaded or reach out of what is around them, and clipped texts."""
    return page.run(_CUT_OFF)


def wide_tables(page: Browser) -> list[bool]:
    """Tell for each table that is wider than its place whether it can be scrolled to its end."""
    return page.run(_WIDE_TABLES)


def dead_links(page: Browser) -> list[str]:
    """Follow the links within the page, and return those that bring nothing into the window."""
    return page.run(_DEAD_LINKS)


def fetched(page: Browser) -> list[str]:
    """Return the addresses beside the page's own that it has asked for."""
    names = "performance.getEntriesByType('resource').map((each) => each.name)"
    return [name for name in page.run(names) if not name.startswith("data:")]


def _commonest(pixels: np.ndarray) -> np.ndarray:
    colors, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    return colors[counts.argmax()].astype(int)


def _over(color: str, opacity: float, ground: np.ndarray) -> np.ndarray:
    """Lay a colour of CSS on a ground."""
    red, green, blue, *alpha = map(float, re.findall(r"[\d.]+", color))
    share = opacity * (alpha[0] if alpha else 1)
    return share * np.array([red, green, blue]) + (1 - share) * ground


def _contrast(one: np.ndarray, other: np.ndarray) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: np.ndarray) -> float:
    channels = color / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
