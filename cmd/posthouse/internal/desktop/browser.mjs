// The browser: Debian's chromium, told to keep to itself, and watched. What a page does that it must not do becomes a fault.
import { createHmac } from "node:crypto";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const quiet = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-features=PasswordLeakDetection",
];

// Plan is what the test says: {base, host, key (SHA-256 of our certificate's public key), accounts, password, pictures}.
export class Browser {
  constructor(plan) {
    this.plan = plan;
    this.browsers = {};
    this.faults = [];
  }

  // launch starts chromium: one that comes from elsewhere, and one on the house's own machine, where operators' rooms open.
  async launch(at) {
    const args = [...quiet, `--ignore-certificate-errors-spki-list=${this.plan.key}`];
    if (at === "loopback") args.push(`--host-resolver-rules=MAP ${this.plan.host} 127.0.0.1`);
    return await chromium.launch({ executablePath: this.plan.chromium, args });
  }

  // context is a fresh visitor. What it notices is added to this.faults.
  async context({ at = "outside", ...options } = {}) {
    this.browsers[at] ??= await this.launch(at);
    const c = await this.browsers[at].newContext({ baseURL: this.plan.base, viewport: { width: 1200, height: 800 }, colorScheme: "light", reducedMotion: "reduce", ...options });
    c.setDefaultTimeout(10_000);
    c.on("dialog", (d) => d.accept());
    const host = new URL(this.plan.base).host;
    c.on("request", (r) => {
      const u = new URL(r.url());
      if (!["data:", "blob:"].includes(u.protocol) && u.host !== host) this.fault(`asks another host: ${r.url()}`);
    });
    c.on("response", (r) => {
      const document = r.request().isNavigationRequest();
      if (r.status() >= 500 || (r.status() >= 400 && !document)) this.fault(`${r.status()} for ${r.request().method()} ${r.url()}`);
    });
    c.on("console", (m) => {
      if (["error", "warning"].includes(m.type()) && !m.text().startsWith("Failed to load resource")) this.fault(`console: ${m.text()}`);
    });
    c.on("weberror", (e) => this.fault(`script: ${e.error()}`));
    if (options.javaScriptEnabled !== false) {
      await c.exposeBinding("policySaid", (_, text) => this.fault(text));
      await c.addInitScript(() => {
        document.addEventListener("securitypolicyviolation", (e) => globalThis.policySaid(`policy: ${e.violatedDirective} forbids ${e.blockedURI} in ${location.pathname}`));
      });
    }
    return c;
  }

  // ask has the test do something in the house, and waits until it is done.
  async ask(what, about) {
    console.log(JSON.stringify({ ask: what, about }));
    const { value, done } = await (this.answers ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]()).next();
    if (done || value !== "done") throw new Error(`the test could not ${what}: ${value}`);
  }

  fault(text) { this.faults.push(text); }

  // step runs one named part, and prints what it found as a line of JSON.
  async step(name, run, always = false) {
    if (!always && this.plan.only && !new RegExp(this.plan.only).test(name)) return;
    this.faults = [];
    const began = Date.now();
    try {
      await run();
    } catch (e) {
      this.fault(String(e.stack ?? e).split("\n").slice(0, 12).join("\n"));
    }
    console.log(JSON.stringify({ name, faults: [...new Set(this.faults)], took: Date.now() - began }));
  }

  async close() { for (const b of Object.values(this.browsers)) await b.close(); }
}

// code is what an authenticator shows (RFC 6238) for the step that is so many steps from now.
export function code(secret, steps = 0) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  let bits = "";
  for (const c of secret.replace(/[\s=]/g, "").toUpperCase()) bits += alphabet.indexOf(c).toString(2).padStart(5, "0");
  const key = Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps));
  const mac = createHmac("sha1", key).update(counter).digest();
  const at = mac[19] & 15;
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

// signIn goes through the form of the front page.
export async function signIn(page, user, password) {
  await page.goto("/");
  await page.getByLabel("Mail address").fill(user);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}

// Walker is a person at a page: it finds fields by their labels and buttons by their words.
export class Walker {
  constructor(page) { this.page = page; }

  async go(path) {
    const answer = await this.page.goto(path);
    if (answer.status() !== 200) throw new Error(`${path} answers ${answer.status()}`);
  }

  // fill types into fields, checks boxes (true, false) and chooses (["words"]).
  async fill(fields) {
    for (const [label, value] of Object.entries(fields)) {
      const field = this.page.locator("main").getByLabel(label, { exact: true }).first();
      if (typeof value === "boolean") await field.setChecked(value);
      else if (Array.isArray(value)) await field.selectOption({ label: value[0] });
      else await field.fill(value);
    }
  }

  async press(name) { await this.page.getByRole("button", { name, exact: true }).first().click(); }
  async follow(name) { await this.page.getByRole("link", { name, exact: true }).first().click(); }

  // sees waits until the page shows texts.
  async sees(...texts) {
    for (const text of texts) {
      try {
        await this.page.getByText(text).filter({ visible: true }).first().waitFor();
      } catch {
        const shown = await this.page.locator("body").innerText();
        throw new Error(`"${text}" is not on ${this.page.url()}:\n${shown.slice(0, 1500)}`);
      }
    }
  }
}
