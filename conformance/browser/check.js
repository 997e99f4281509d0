// Opens the suite's pages in a real browser, as a reader would, and holds them against the JSON of the same runs.
//
//   node check.js FOLDER       FOLDER has NAME.json and NAME/index.html of each run, and matrix/index.html of them all
//   SCREENSHOTS=DIR            pictures go there
"use strict";
const { readdirSync, readFileSync } = require("node:fs");
const { join, resolve } = require("node:path");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");

const WIDTHS = { desktop: { width: 1280, height: 900 }, phone: { width: 360, height: 740 } };
const ARGUMENTS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
// Colours of text and background must be this far apart (WCAG 2.1 AA for small text).
const CONTRAST_MIN = 4.5;

// A page with more cases open than this takes long to lay out; and a run with more cells than this has only some of
// them clicked, while all are held against the JSON.
const OPEN_AT_ONCE = 150;
const CLICKED_AT_ONCE = 200;

const folder = resolve(process.argv[2]);
const screenshots = process.env.SCREENSHOTS;
const mistakes = [];
let checks = 0;

function check(holds, what) {
  checks += 1;
  if (!holds) mistakes.push(what);
}

// A page that is watched: whatever it says on the console and whatever it asks the network for is a mistake.
async function open(browser, file, name, options) {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const url = pathToFileURL(file).href;
  page.on("console", (message) => check(false, `${name}: the console says ${message.text()}`));
  page.on("pageerror", (error) => check(false, `${name}: ${error.message}`));
  page.on("dialog", (dialog) => check(false, `${name}: a dialog, ${dialog.message()}`));
  page.on("request", (request) => {
    const asked = request.url();
    const isOwn = asked.startsWith("data:") || asked.startsWith(pathToFileURL(folder).href + "/");
    check(isOwn, `${name}: asks for ${asked}`);
  });
  page.setDefaultTimeout(60_000);
  await page.goto(url);
  return page;
}

async function picture(page, name) {
  if (screenshots) await page.screenshot({ path: join(screenshots, `${name}.png`) });
}

async function nothingWasInjected(page, name) {
  const found = await page.evaluate(() => ({
    injected: window.injected,
    scripts: document.scripts.length,
    foreign: document.querySelectorAll("img, iframe, object, embed, form, link:not([rel=icon]), svg:not(.bar)").length,
    handlers: [...document.querySelectorAll("*")].filter((e) => [...e.attributes].some((a) => a.name.startsWith("on"))).length,
    links: [...document.links].filter((a) => !/^(#|run-\d+\.html(#|$)|index\.html$)/.test(a.getAttribute("href"))).length,
  }));
  check(found.injected === undefined, `${name}: the injected ${found.injected} ran`);
  check(found.scripts === 1, `${name}: ${found.scripts} scripts`);
  check(found.foreign === 0, `${name}: ${found.foreign} elements that the page has no use for`);
  check(found.handlers === 0, `${name}: ${found.handlers} elements with handlers`);
  check(found.links === 0, `${name}: ${found.links} links that lead out of the report`);
}

async function fits(page, name) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check(over <= 0, `${name}: the page is ${over} px too wide`);
}

// Control characters are shown by their pictures.
const seenAs = (text) => text.replace(/[\x00-\x08\x0b-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)));

// The chips and what they open, in the page itself: a thousand clicks from outside would take minutes. Each chip is held
// against the JSON, and each `stride`th is clicked.
async function everyCellOpensItsWireLog(page, name, run) {
  const stride = Math.ceil(run.cases.length / CLICKED_AT_ONCE);
  const seen = await page.evaluate(async (stride) => {
    const out = [];
    let number = 0;
    for (const chip of document.querySelectorAll("#matrix .chip")) {
      const isClicked = number++ % stride === 0;
      if (isClicked) {
        document.querySelectorAll("details.case[open]").forEach((open) => (open.open = false));
        chip.click();
        await new Promise((resolve) => setTimeout(resolve));
      }
      const body = document.getElementById(chip.hash.slice(1));
      const details = body && body.closest("details.case");
      const box = isClicked && details && details.querySelector("summary").getBoundingClientRect();
      out.push({
        id: chip.hash.slice("#c-".length),
        rule: chip.closest("tr").id.slice("r-".length),
        word: chip.querySelector(".hidden").textContent.trim(),
        isOpen: !isClicked || Boolean(details && details.open && box.bottom > 0 && box.top < innerHeight),
        sent: body ? [...body.querySelectorAll(".wire > section:first-child pre.head")].map((pre) => pre.textContent) : [],
        received: body ? [...body.querySelectorAll(".wire > section:last-child")].map((s) => s.textContent) : [],
        text: body ? body.textContent : "",
      });
    }
    return out;
  }, stride);
  const chips = new Map(seen.map((chip) => [`${chip.rule} ${chip.id}`, chip]));
  for (const entry of run.cases) {
    for (const rule of entry.rules.filter((id) => run.rules.some((known) => known.id === id))) {
      const chip = chips.get(`${rule} ${entry.id}`);
      const place = `${name}: ${entry.id} in the row of ${rule}`;
      check(chip !== undefined, `${place} is not there`);
      if (chip === undefined) continue;
      check(chip.word === entry.verdict, `${place} says ${chip.word}, the JSON ${entry.verdict}`);
      check(chip.isOpen, `${place} does not open its case`);
      check(chip.sent.length === (entry.wire || []).length, `${place} shows ${chip.sent.length} exchanges`);
      const first = (entry.wire || []).map((exchange) => seenAs(exchange.request.split(/\r?\n/)[0]));
      check(first.every((line, at) => (chip.sent[at] || "").startsWith(line.slice(0, 20))), `${place} shows another request`);
      check(chip.received.every((text) => text.length > "Received".length), `${place} shows no answer`);
      check(entry.reason === "" || /[^\x20-\x7e]/.test(entry.reason) || chip.text.includes(entry.reason), `${place} does not say why`);
      chips.delete(`${rule} ${entry.id}`);
    }
  }
  check(chips.size === 0, `${name}: cells without a case: ${[...chips.keys()].join(", ")}`);
}

// What was sent and what came, to the last character, though most of it is in the page only as it is laid out.
async function rawIsWhatCame(page, name, run) {
  const seen = await page.evaluate(async (most) => {
    const all = [...document.querySelectorAll("details.case")].filter((one) => one.querySelector("details.raw"));
    const stride = Math.ceil(all.length / most);
    const chosen = all.filter((_, at) => at % stride === 0);
    const raws = chosen.flatMap((one) => [...one.querySelectorAll("details.raw")]);
    // All at once: each turn of a page that is so large takes long.
    for (const raw of raws) raw.open = true;
    for (let turns = 0; turns < 100 && raws.some((raw) => !raw.querySelector("pre")); turns += 1) {
      await new Promise((resolve) => setTimeout(resolve));
    }
    const text = (section) => {
      const raw = section.querySelector("details.raw");
      return raw ? (raw.querySelector("pre")?.textContent ?? "(nothing)") : undefined;
    };
    const out = chosen.map((one) => ({
      id: one.querySelector(".body").id.slice("c-".length),
      wire: [...one.querySelectorAll(".wire")].map((wire) => [...wire.querySelectorAll(":scope > section")].map(text)),
    }));
    for (const raw of raws) raw.open = false;
    return out;
  }, CLICKED_AT_ONCE);
  const body = (message) => {
    const gap = ["\n\n", "\r\n\r\n"].find((gap) => message.includes(gap));
    return gap === undefined ? "" : message.slice(message.indexOf(gap) + gap.length);
  };
  for (const { id, wire } of seen) {
    const exchanges = run.cases.find((entry) => entry.id === id).wire;
    wire.forEach((texts, at) => [exchanges[at].request, exchanges[at].answer].forEach((message, way) => {
      const sent = seenAs(body(message));
      // Some characters are shown by their numbers.
      if (texts[way] === undefined || /[^\x09\x0a\x20-\x7e]/.test(sent)) return;
      check(texts[way] === sent, `${name}: ${id} shows as raw ${texts[way].slice(0, 200)}, which was ${sent.slice(0, 200)}`);
    }));
  }
}

async function headerSays(page, name, run) {
  const text = await page.evaluate(() => document.querySelector("header").textContent);
  for (const part of [run.target, run.profile, run.began, run.seed, "no certificate"]) {
    check(text.includes(part), `${name}: the header does not say ${part}`);
  }
  for (const [word, many] of Object.entries(run.counts)) {
    const told = await page.evaluate((id) => document.getElementById(id)?.parentElement.querySelector("b").textContent, `f-${word}`);
    check(String(told ?? 0) === String(many), `${name}: ${told} cases are ${word}, the JSON says ${many}`);
    const shown = await page.locator(`details.case.v-${word}`).count();
    check(shown === many, `${name}: ${shown} cases are shown as ${word}, the JSON says ${many}`);
  }
}

const visible = (page, selector) =>
  page.evaluate((css) => [...document.querySelectorAll(css)].filter((e) => e.getClientRects().length > 0).length, selector);

// A click in the page itself: the driver's own waits until everything has come to rest.
const click = (page, selector) => page.evaluate((css) => document.querySelector(css).click(), selector);

async function filtersWork(page, name, run) {
  const words = Object.keys(run.counts).filter((word) => run.counts[word] > 0);
  const cases = await visible(page, "details.case");
  check(cases === run.cases.length, `${name}: ${cases} cases are seen before any filter`);
  for (const word of words) {
    await click(page, `#f-${word}`);
    check((await visible(page, `.item.v-${word}`)) === 0, `${name}: the filter does not hide ${word}`);
    check((await visible(page, "details.case")) === cases - run.counts[word], `${name}: the filter ${word} hides others`);
    await click(page, `#f-${word}`);
  }
  for (const word of words) await click(page, `#f-${word}`);
  check((await visible(page, "tr.row")) === (await visible(page, "tr.row td.v-no-case")), `${name}: empty rows stay`);
  for (const word of words) await click(page, `#f-${word}`);
  await click(page, "#f-l-must");
  check((await visible(page, ".item.l-must")) === 0, `${name}: the filter does not hide MUST`);
  const rest = run.cases.filter((entry) => entry.level !== "MUST").length;
  check((await visible(page, "details.case")) === rest, `${name}: without MUST, ${rest} cases should be seen`);
  await click(page, "#f-l-must");
  check((await visible(page, "details.case")) === cases, `${name}: the filters do not undo themselves`);
}

// Space works a filter, Enter opens a cell; focus is where one sees it.
async function keyboardWorks(page, name) {
  await page.focus("#f-l-may");
  await page.keyboard.press("Space");
  check(!(await page.isChecked("#f-l-may")), `${name}: Space does not work a filter`);
  await page.keyboard.press("Space");
  const chip = page.locator("#matrix .chip").first();
  await chip.focus();
  await page.keyboard.press("Enter");
  const opened = page.locator("details.case[open]:has(> .body:target)");
  check((await opened.count()) === 1, `${name}: Enter does not open a cell`);
  await opened.locator("summary").first().focus();
  await page.keyboard.press("Enter");
  check((await page.locator("details.case[open]:has(> .body:target)").count()) === 0, `${name}: Enter does not close a case`);
}

// The colours of all small texts against what is behind them.
async function contrastIsEnough(page, name) {
  const poor = await page.evaluate((least) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    const rgb = (colour) => {
      pen.clearRect(0, 0, 1, 1);
      pen.fillStyle = colour;
      pen.fillRect(0, 0, 1, 1);
      return [...pen.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => {
      const part = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const behind = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const colour = rgb(getComputedStyle(at).backgroundColor);
        if (colour[3] === 255) return colour;
      }
      return [255, 255, 255, 255];
    };
    const found = new Set();
    const seen = new Set();
    for (const element of document.querySelectorAll(
      ".chip, .told, .level, .note, dt, thead th, .banner, .switch, .outcome, .word, pre, pre b, .why, td.v-no-case",
    )) {
      const kind = `${element.tagName} ${element.className}`;
      if (seen.has(kind) || element.getClientRects().length === 0) continue;
      seen.add(kind);
      const pair = [light(rgb(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
      if ((pair[0] + 0.05) / (pair[1] + 0.05) < least) found.add(kind);
    }
    return [...found];
  }, CONTRAST_MIN);
  check(poor.length === 0, `${name}: hard to read: ${poor.join(", ")}`);
}

async function reportWorks(browser, run, runName) {
  const file = join(folder, runName, "index.html");
  for (const [width, viewport] of Object.entries(WIDTHS)) {
    const name = `${runName}, ${width}`;
    const page = await open(browser, file, name, { viewport });
    await nothingWasInjected(page, name);
    await headerSays(page, name, run);
    await fits(page, name);
    await picture(page, `${runName}-${width}`);
    await filtersWork(page, name, run);
    await keyboardWorks(page, name);
    await everyCellOpensItsWireLog(page, name, run);
    if (width === "desktop") await rawIsWhatCame(page, name, run);
    await picture(page, `${runName}-${width}-case`);
    // As wide as it can get: all cases open, or a part of them where there are many.
    await page.evaluate((most) => {
      const all = [...document.querySelectorAll("details.case")];
      const stride = Math.ceil(all.length / most);
      all.filter((_, at) => at % stride === 0).flatMap((one) => [one, ...one.querySelectorAll("details")])
        .forEach((details) => (details.open = true));
    }, OPEN_AT_ONCE);
    await fits(page, `${name}, all open`);
    await nothingWasInjected(page, `${name}, all open`);
    await page.context().close();
  }
  for (const colorScheme of ["light", "dark"]) {
    const name = `${runName}, ${colorScheme}`;
    const page = await open(browser, file, name, { viewport: WIDTHS.desktop, colorScheme });
    await page.locator("#matrix .chip").first().click();
    await contrastIsEnough(page, name);
    await picture(page, `${runName}-${colorScheme}`);
    await page.emulateMedia({ media: "print", colorScheme });
    check((await visible(page, ".filters")) === 0, `${name}: the filters are printed`);
    check((await visible(page, "details.case")) === 1, `${name}: closed cases are printed`);
    await page.context().close();
  }
}

// A reader without JavaScript: the cells open, and the filters filter.
async function worksWithoutScript(browser, run, runName) {
  const name = `${runName}, no script`;
  const page = await open(browser, join(folder, runName, "index.html"), name, { viewport: WIDTHS.phone, javaScriptEnabled: false });
  const word = Object.keys(run.counts).find((key) => run.counts[key] > 0);
  const chip = page.locator(`#matrix .chip.v-${word}`).first();
  await chip.click();
  check(await page.locator("details.case[open]:has(> .body:target) .body").isVisible(), `${name}: a cell does not open`);
  await page.locator(`#f-${word}`).uncheck();
  check(!(await chip.isVisible()), `${name}: the filters do not work`);
  await page.context().close();
}

async function matrixWorks(browser, runs) {
  const file = join(folder, "matrix", "index.html");
  for (const [width, viewport] of Object.entries(WIDTHS)) {
    const name = `matrix, ${width}`;
    const page = await open(browser, file, name, { viewport });
    await nothingWasInjected(page, name);
    await fits(page, name);
    check((await page.locator(".runs tbody tr").count()) === runs.length, `${name}: not every run is a column`);
    const cells = await page.evaluate(() =>
      [...document.querySelectorAll(".cells tr.case")].flatMap((row) =>
        [...row.querySelectorAll("td")].map((cell, at) => ({
          id: row.querySelector("b").textContent,
          at,
          word: cell.textContent.trim().split(" ").pop(),
          href: cell.querySelector("a")?.getAttribute("href"),
        })),
      ),
    );
    for (const cell of cells) {
      const entry = runs[cell.at].run.cases.find((known) => known.id === cell.id);
      const place = `${name}: ${cell.id} of run ${cell.at + 1}`;
      if (entry === undefined) {
        check(cell.href === undefined, `${place} is not in the JSON`);
        continue;
      }
      check(cell.word === entry.verdict, `${place} says ${cell.word}, the JSON ${entry.verdict}`);
      check(cell.href === `run-${cell.at + 1}.html#c-${cell.id}`, `${place} leads to ${cell.href}`);
    }
    const ids = new Set(runs.flatMap(({ run }) => run.cases.map((entry) => entry.id)));
    const shown = new Set(cells.map((cell) => cell.id));
    check([...ids].every((id) => shown.has(id)), `${name}: cases are missing`);
    await picture(page, `matrix-${width}`);
    const row = page.locator(".cells tbody:has(tr.case)").first();
    check(!(await row.locator("tr.case").first().isVisible()), `${name}: cases are seen before they are asked for`);
    await row.locator(".expand input").check();
    check(await row.locator("tr.case").first().isVisible(), `${name}: a rule does not show its cases`);
    await page.check("#f-differ");
    check((await visible(page, "tbody.same")) === 0, `${name}: rows on which the runs agree stay`);
    check((await visible(page, "tbody.row")) > 0, `${name}: the runs should differ`);
    await picture(page, `matrix-${width}-differ`);
    await page.locator(".cells tbody.row:visible tr:not(.case) td a").last().click();
    await page.waitForURL(/run-\d+\.html#c-/);
    check(await page.locator("details.case[open] .body:target").isVisible(), `${name}: a cell does not open its wire log`);
    await fits(page, `${name}, the run`);
    await nothingWasInjected(page, `${name}, the run`);
    await page.locator("header a").first().click();
    await page.waitForURL(/index\.html$/);
    await page.context().close();
  }
}

async function main() {
  const names = readdirSync(folder).filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -5)).sort();
  const runs = names.map((name) => ({ name, run: JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")) }));
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ARGUMENTS });
  try {
    for (const { name, run } of runs) {
      await reportWorks(browser, run, name);
      await worksWithoutScript(browser, run, name);
    }
    await matrixWorks(browser, runs);
  } catch (error) {
    check(false, error.message);
  }
  await browser.close();
  for (const mistake of mistakes.slice(0, 50)) console.error(mistake);
  console.log(`${names.join(", ")} and the matrix: ${checks} checks, ${mistakes.length} mistakes`);
  process.exitCode = mistakes.length === 0 ? 0 : 1;
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
