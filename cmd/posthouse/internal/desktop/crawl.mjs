// The crawl: every page that links lead to, once, and what must be true of each.
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const mostTwins = 2; // pages that differ only in whom they are about

// crawl visits all pages that are reached from "/" and from also, without those that begin with one of skip, and returns their paths.
export async function crawl(browser, context, { look, allowed, skip = [], also = [] }) {
  const page = await context.newPage();
  const queue = ["/", ...also];
  const seen = new Set(queue);
  const twins = new Map();
  const visited = [];
  while (queue.length > 0) {
    const path = queue.shift();
    const before = browser.faults.length;
    let answer;
    try {
      answer = await page.goto(path, { waitUntil: "load" });
    } catch (e) {
      if (!String(e).includes("Download is starting") && !String(e).includes("ERR_ABORTED")) browser.fault(`${path}: ${e}`);
      continue; // a file
    }
    if (answer.status() !== 200 && answer.status() !== allowed && !also.includes(path)) browser.fault(`${path}: answers ${answer.status()} to a link`);
    if (!(answer.headers()["content-type"] ?? "").startsWith("text/html")) continue;
    visited.push(path);
    for (const link of await links(page)) {
      const twin = shape(link);
      if (seen.has(link) || (twins.get(twin) ?? 0) >= mostTwins || skip.some((s) => link.startsWith(s))) continue;
      seen.add(link);
      twins.set(twin, (twins.get(twin) ?? 0) + 1);
      queue.push(link);
    }
    await look(page, path);
    for (let i = before; i < browser.faults.length; i++) if (!browser.faults[i].startsWith("/")) browser.faults[i] = `${path}: ${browser.faults[i]}`;
  }
  await page.close();
  return visited;
}

// links are the paths of this house that a page leads to.
async function links(page) {
  const all = await page.$$eval("a[href]", (as) => as.map((a) => a.href));
  const home = new URL(page.url()).origin;
  return [...new Set(all.map((a) => new URL(a)).filter((u) => u.origin === home).map((u) => u.pathname + u.search))];
}

// shape is a path without whom it is about.
function shape(link) {
  const u = new URL(link, "http://x");
  const names = [...u.searchParams.keys()].sort().join();
  return u.pathname.split("/").map((s) => (/[\d@%.]|^[0-9a-z]{12,}$/.test(s) ? "*" : s)).join("/") + "?" + names;
}

// inspect is what must be true of every page: for ears (axe), for eyes in light and dark, on a phone, with keys.
export function inspect(browser) {
  return async (page, path) => {
    await page.emulateMedia({ colorScheme: "light" });
    await page.setViewportSize({ width: 1200, height: 800 });
    if ((await page.locator("h1").count()) !== 1) browser.fault(`${path}: not one heading of the first rank`);
    if (!(await page.title()).includes("·")) browser.fault(`${path}: no title`);
    await page.evaluate(axe);
    for (const v of await violations(page, {})) browser.fault(`${path}: ${v}`);
    await keys(browser, page, path);
    await page.emulateMedia({ colorScheme: "dark" });
    for (const v of await violations(page, { runOnly: ["color-contrast", "link-in-text-block"] })) browser.fault(`${path} in the dark: ${v}`);
    await phone(browser, page, path);
    await page.setViewportSize({ width: 1200, height: 800 });
    await page.emulateMedia({ colorScheme: "light" });
  };
}

async function violations(page, options) {
  return await page.evaluate(async (o) => {
    const found = await globalThis.axe.run(document, { resultTypes: ["violations"], ...o });
    return found.violations.flatMap((v) => v.nodes.slice(0, 3).map((n) => `axe: ${v.id}: ${n.html.slice(0, 160)}: ${(n.any[0] ?? n.all[0] ?? n.none[0])?.message ?? v.help}`));
  }, options);
}

// phone: nothing is wider than 320 pixels, so nobody scrolls sideways.
async function phone(browser, page, path) {
  await page.setViewportSize({ width: 320, height: 640 });
  const wide = await page.evaluate(() => {
    const width = document.documentElement.scrollWidth;
    if (width <= 320) return "";
    const worst = [...document.querySelectorAll("main *, header *")].filter((e) => e.getBoundingClientRect().right > 321 && !e.closest(".wide, pre")).map((e) => e.outerHTML.slice(0, 120));
    return `${width} pixels wide on a phone: ${worst.slice(0, 2).join(" | ")}`;
  });
  if (wide) browser.fault(`${path}: ${wide}`);
}

// keys: Tab reaches all that can be used, each shows that it has the focus, and the way ends.
async function keys(browser, page, path) {
  const all = await page.evaluate(() => {
    let n = 0;
    for (const e of document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")) {
      const group = e.type === "radio" && e.name && [...document.getElementsByName(e.name)];
      if (e.tabIndex < 0 || e.disabled || e.type === "hidden" || !e.checkVisibility()) continue;
      if (group && e !== (group.find((r) => r.checked) ?? group[0])) continue; // arrows lead through the group
      e.dataset.stop = n++;
    }
    document.activeElement?.blur();
    getSelection().removeAllRanges();
    return n;
  });
  const missed = new Set(Array.from({ length: Math.min(all, 80) }, (_, i) => String(i)));
  for (let i = 0; i < Math.min(all, 80) + 3 && missed.size > 0; i++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const e = document.activeElement;
      const s = getComputedStyle(e);
      if (e.type === "date") return { stop: e.dataset.stop, shown: true }; // chromium marks the part of it that is typed into
      return { stop: e.dataset.stop, shown: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0, html: e.outerHTML.slice(0, 100) };
    });
    if (stop.stop === undefined) continue;
    missed.delete(stop.stop);
    if (!stop.shown) browser.fault(`${path}: no sign of the focus on ${stop.html}`);
  }
  if (missed.size > 0) {
    const what = await page.evaluate((ns) => ns.map((n) => document.querySelector(`[data-stop="${n}"]`)?.outerHTML.slice(0, 100)), [...missed].slice(0, 2));
    browser.fault(`${path}: Tab does not reach ${what.join(" | ")}`);
  }
}
